"""Gradient features of a few samples of every domain and task, for policies that compare them.

Axes: n samples, k domains, t tasks, d feature dimensions.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from dids.alignment.composed import Composed, tasks_of
from dids.atomic import read_json, whole_folder, write_json
from dids.checksum import file_checksum
from dids.domains.feature_source import FeatureSource, directions
from dids.mixture.policy import FeatureSamples
from dids.run.alignment import fitted_alignment, known_samples, with_direction
from dids.run.drawn_features import (
    FEWEST_SAMPLES,
    MOST_SAMPLES,
    drawn_samples,
    features_on_proxy,
    task_features,
)
from dids.run.features import computed_features, feature_key
from dids.run.workspace import Workspace

FOLDER = "feature_samples"


def feature_samples(work: Workspace) -> FeatureSamples:
    """Features of length 1 of up to `MOST_SAMPLES` samples of every domain and task.

    Those of domains come from the run's features, where it has some; all others are computed on
    the proxy, by the same projection. They are aligned where the config asks for it. Kept in
    ``feature_samples/`` and made again where data, proxy or domains are others. Samples with a
    feature of zero are left out.
    """
    key = _key(work)
    kept = _kept(work.path(FOLDER), key)
    if kept is not None:
        return kept
    alignment = fitted_alignment(work)
    found = FeatureSamples(
        _of_domains(work, alignment), _of_tasks(work, alignment), tuple(work.scored_tasks)
    )
    with whole_folder(work.path(FOLDER)) as unfinished:
        feature_nd = np.concatenate([*found.domains, *found.tasks])
        np.save(unfinished / "features.npy", feature_nd, allow_pickle=False)
        meta = {
            "key": key,
            "sha256": file_checksum(unfinished / "features.npy"),
            "domains": [len(rows) for rows in found.domains],
            "tasks": {
                task: len(rows) for task, rows in zip(found.task_names, found.tasks, strict=True)
            },
        }
        write_json(unfinished / "samples.json", meta)
    return found


def _key(work: Workspace) -> str:
    """A hash of what the samples and their features depend on."""
    tasks = [work.task_store(task, "validation").key for task in work.scored_tasks]
    made_of = [
        feature_key(work),
        hashlib.sha256(work.domains.domain_of_sample.tobytes()).hexdigest(),
        *work.domains.names,
        *work.scored_tasks,
        *tasks,
        str((work.config.seed, MOST_SAMPLES, FEWEST_SAMPLES)),
        *(work.config.features.alignment or ()),
    ]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()


def _kept(folder: Path, key: str) -> FeatureSamples | None:
    """What was made before; None if it was made of something else, or is damaged."""
    if not (folder / "samples.json").is_file() or not (folder / "features.npy").is_file():
        return None
    meta = read_json(folder / "samples.json")
    if meta["key"] != key or meta["sha256"] != file_checksum(folder / "features.npy"):
        return None
    counts = [*meta["domains"], *meta["tasks"].values()]
    feature_nd = np.load(folder / "features.npy", allow_pickle=False)
    parts = np.split(feature_nd, np.cumsum(counts)[:-1])
    num_domains = len(meta["domains"])
    return FeatureSamples(
        tuple(parts[:num_domains]), tuple(parts[num_domains:]), tuple(meta["tasks"])
    )


def _of_domains(
    work: Workspace, alignment: Composed | None
) -> tuple[Float[np.ndarray, "_ d"], ...]:
    stored = _stored(work)
    is_stored_n = _is_stored(stored, len(work.dataset))
    chosen = [
        drawn_samples(work.dataset, sample_n, is_stored_n, [work.config.seed, domain])
        for domain, sample_n in enumerate(work.domain_data.members)
    ]
    missing = [sample_n[~is_stored_n[sample_n]] for sample_n in chosen]
    computed = features_on_proxy(work, work.dataset, missing, "features of domains")
    found = []
    for sample_n, computed_nd in zip(chosen, computed, strict=True):
        known_n, missing_n = sample_n[is_stored_n[sample_n]], sample_n[~is_stored_n[sample_n]]
        # Without a store nothing is known, and the empty rows have the others' width.
        known_nd = stored[known_n] if stored is not None and len(known_n) else computed_nd[:0]
        source_n = work.dataset.source_of_sample[np.concatenate([known_n, missing_n])]
        found.append(_unit(np.concatenate([known_nd, computed_nd]), source_n, alignment))
    return tuple(found)


def _of_tasks(work: Workspace, alignment: Composed | None) -> tuple[Float[np.ndarray, "_ d"], ...]:
    return tuple(_unit(rows, tasks_of(rows), alignment) for rows in task_features(work))


def _unit(
    feature_nd: Float[np.ndarray, "n d"],
    source_n: Integer[np.ndarray, " n"],
    alignment: Composed | None,
) -> Float[np.ndarray, "m d"]:
    """Rows as domains are made of: aligned, of length 1, without those of zero."""
    if alignment is not None:
        direction_nd = directions(feature_nd, np.arange(len(feature_nd)))
        feature_nd = alignment.aligned(direction_nd, source_n)
    return with_direction(feature_nd)


def _stored(work: Workspace) -> FeatureSource | None:
    """The run's features, which sources that joined it later have no part in."""
    if work.config.domains.number == "sources":
        return None
    return computed_features(replace(work, with_added=False))


def _is_stored(stored: FeatureSource | None, num_samples: int) -> np.ndarray:
    is_stored_n = np.zeros(num_samples, dtype=bool)
    if stored is not None:
        is_stored_n[known_samples(stored)] = True
    return is_stored_n
