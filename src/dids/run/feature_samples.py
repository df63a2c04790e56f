"""Gradient features of a few samples of every domain and task, for policies that compare them.

Axes: n samples, k domains, t tasks, d feature dimensions.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from dids.atomic import read_json, whole_folder, write_json
from dids.data.dataset import TokenDataset
from dids.domains.feature_source import FeatureSource, SparseFeatures, directions
from dids.gradients.compute_features import features_of
from dids.mixture.policy import FeatureSamples
from dids.run.features import computed_features, feature_key, projection_of
from dids.run.workspace import Workspace

FOLDER = "feature_samples"
MOST_SAMPLES = 64
"""Of a domain or task: mean directions and distances of so many are known to a few per cent, and
computing them takes no longer than measuring impact once."""
_FEWEST_SAMPLES = 16
"""So many of a domain are taken even where the run's own features are of fewer."""


def feature_samples(work: Workspace) -> FeatureSamples:
    """Features of length 1 of up to `MOST_SAMPLES` samples of every domain and task.

    Those of domains come from the run's features, where it has some; all others are computed on
    the proxy, by the same projection. Kept in ``feature_samples/`` and made again where data,
    proxy or domains are others. Samples with a feature of zero are left out.
    """
    key = _key(work)
    kept = _kept(work.path(FOLDER), key)
    if kept is not None:
        return kept
    found = FeatureSamples(_of_domains(work), _of_tasks(work), tuple(work.scored_tasks))
    with whole_folder(work.path(FOLDER)) as unfinished:
        feature_nd = np.concatenate([*found.domains, *found.tasks])
        np.save(unfinished / "features.npy", feature_nd, allow_pickle=False)
        meta = {
            "key": key,
            "sha256": _sha256(unfinished / "features.npy"),
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
        str((work.config.seed, MOST_SAMPLES, _FEWEST_SAMPLES)),
    ]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()


def _kept(folder: Path, key: str) -> FeatureSamples | None:
    """What was made before; None if it was made of something else, or is damaged."""
    if not (folder / "samples.json").is_file() or not (folder / "features.npy").is_file():
        return None
    meta = read_json(folder / "samples.json")
    if meta["key"] != key or meta["sha256"] != _sha256(folder / "features.npy"):
        return None
    counts = [*meta["domains"], *meta["tasks"].values()]
    feature_nd = np.load(folder / "features.npy", allow_pickle=False)
    parts = np.split(feature_nd, np.cumsum(counts)[:-1])
    num_domains = len(meta["domains"])
    return FeatureSamples(
        tuple(parts[:num_domains]), tuple(parts[num_domains:]), tuple(meta["tasks"])
    )


def _of_domains(work: Workspace) -> tuple[Float[np.ndarray, "_ d"], ...]:
    stored = _stored(work)
    is_stored_n = _is_stored(stored, len(work.dataset))
    chosen = [
        _chosen(work.dataset, sample_n, is_stored_n, [work.config.seed, domain])
        for domain, sample_n in enumerate(work.domain_data.members)
    ]
    missing = [sample_n[~is_stored_n[sample_n]] for sample_n in chosen]
    computed = _computed(work, work.dataset, missing, "features of domains")
    found = []
    for sample_n, computed_nd in zip(chosen, computed, strict=True):
        known_n = sample_n[is_stored_n[sample_n]]
        # Without a store nothing is known, and the empty rows have the others' width.
        known_nd = stored[known_n] if stored is not None and len(known_n) else computed_nd[:0]
        found.append(_unit(np.concatenate([known_nd, computed_nd])))
    return tuple(found)


def _of_tasks(work: Workspace) -> tuple[Float[np.ndarray, "_ d"], ...]:
    found = []
    for index, task in enumerate(work.scored_tasks):
        dataset = work.task_dataset(task, "validation")
        everything = np.arange(len(dataset.lengths))
        is_stored_n = np.ones(len(everything), dtype=bool)  # none is preferred
        chosen = _chosen(dataset, everything, is_stored_n, [work.config.seed, 2**32 + index])
        found.append(_unit(_computed(work, dataset, [chosen], f"features of {task}")[0]))
    return tuple(found)


def _stored(work: Workspace) -> FeatureSource | None:
    """The run's features, which sources that joined it later have no part in."""
    if work.config.domains.number == "sources":
        return None
    return computed_features(replace(work, with_added=False))


def _is_stored(stored: FeatureSource | None, num_samples: int) -> np.ndarray:
    is_stored_n = np.zeros(num_samples, dtype=bool)
    if isinstance(stored, SparseFeatures):
        is_stored_n[stored.samples_m] = True
    elif stored is not None:
        is_stored_n[: len(stored)] = True
    return is_stored_n


def _chosen(
    dataset: TokenDataset,
    sample_n: Integer[np.ndarray, " n"],
    is_stored_n: np.ndarray,
    key: list[int],
) -> Integer[np.ndarray, " m"]:
    """Samples drawn evenly: of those whose feature is known, and of others where these are few."""
    scored_n = sample_n[dataset.scored_counts[sample_n] > 0]
    shuffled_n = np.random.Generator(np.random.Philox(key=key)).permutation(scored_n)
    known_n = shuffled_n[is_stored_n[shuffled_n]][:MOST_SAMPLES]
    others_n = shuffled_n[~is_stored_n[shuffled_n]]
    return np.sort(np.concatenate([known_n, others_n[: max(0, _FEWEST_SAMPLES - len(known_n))]]))


def _computed(
    work: Workspace,
    dataset: TokenDataset,
    samples: Sequence[Integer[np.ndarray, " _"]],
    title: str,
) -> list[Float[np.ndarray, "_ d"]]:
    """Features on the proxy, group by group."""
    sample_n = np.concatenate([np.zeros(0, dtype=np.int64), *samples])
    settings, projection = work.config.features, projection_of(work)
    if len(sample_n) == 0:
        return [np.zeros((0, projection.dim), dtype=np.float32) for _ in samples]
    with work.progress.bar(title, len(sample_n)) as advance:
        feature_nd = features_of(
            work.saved_model("proxy"),
            dataset,
            work.collate,
            projection,
            sample_n,
            batch_tokens=settings.batch_tokens,
            device=work.device,
            progress=advance,
            layers=settings.layers,
        )
    return np.split(feature_nd, np.cumsum([len(group) for group in samples])[:-1])


def _unit(feature_nd: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "m d"]:
    """Rows of length 1; those of zero, in which nothing is scored, are left out."""
    direction_nd = directions(feature_nd, np.arange(len(feature_nd)))
    return direction_nd[direction_nd.any(axis=1)]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
