"""The alignment of a run's features: fitted once on a draw of samples and the tasks', then kept.

Axes: n samples, m samples drawn, d feature dimensions.
"""

import hashlib
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Integer

from dids.alignment.composed import Composed
from dids.domains.aligned_features import AlignedFeatures
from dids.domains.feature_source import FeatureSource, SparseFeatures, directions
from dids.run.drawn_features import task_features
from dids.run.features import computed_features, feature_key
from dids.run.workspace import Workspace

FOLDER = "alignment"
MAX_SAMPLES = 8192
"""What it is fitted on, over all sources: 32 MB of features of 1,024 dimensions, and moments of
sixty-four directions to a few per cent."""
MIN_OF_A_SOURCE = 64


def aligned_features(work: Workspace) -> FeatureSource:
    """The run's features as its alignment makes them; as they are where there is none."""
    features = computed_features(work)
    fitted = fitted_alignment(work)
    if fitted is None:
        return features
    return AlignedFeatures(features, fitted, work.dataset.source_of_sample)


def fitted_alignment(work: Workspace) -> Composed | None:
    """The alignment that the config asks for, fitted or read back; None where it asks for none.

    It is kept in ``alignment/`` and fitted again where features, tasks or names are others. Sources
    that joined the run later have no part in it.
    """
    work = replace(work, with_added=False)
    names = work.config.features.alignment or ()
    if not names:
        return None
    key = _key(work)
    fitted = Composed.load(work.path(FOLDER), key)
    if fitted is None:
        sample_m = _drawn(work)
        fitted = Composed.fit(
            names,
            directions(computed_features(work), sample_m),
            work.dataset.source_of_sample[sample_m].astype(np.int64),
            _together(work),
            seed=work.config.seed,
        )
        fitted.save(work.path(FOLDER), key)
    return fitted


def task_directions(work: Workspace) -> dict[str, Float[np.ndarray, "_ d"]]:
    """Directions of every task's samples on the proxy, not aligned, without those of zero."""
    return {
        task: with_direction(rows)
        for task, rows in zip(work.scored_tasks, task_features(work), strict=True)
    }


def with_direction(feature_nd: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "m d"]:
    """Rows of length 1; those of zero, in which nothing is scored, are left out."""
    direction_nd = directions(feature_nd, np.arange(len(feature_nd)))
    return direction_nd[direction_nd.any(axis=1)]


def _together(work: Workspace) -> Float[np.ndarray, "_ d"] | None:
    """Of all tasks."""
    found = list(task_directions(work).values())
    return np.concatenate(found) if found else None


def _key(work: Workspace) -> str:
    tasks = [work.task_store(task, "validation").key for task in work.scored_tasks]
    made_of = [
        feature_key(work),
        *(work.config.features.alignment or ()),
        *tasks,
        str((work.config.seed, MAX_SAMPLES)),
    ]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()


def _drawn(work: Workspace) -> Integer[np.ndarray, " m"]:
    """Samples with a feature, evenly from every source as far as it has them."""
    features, source_n = computed_features(work), work.dataset.source_of_sample
    num_sources = len(work.sources)
    most = max(MIN_OF_A_SOURCE, MAX_SAMPLES // num_sources)
    known_n = known_samples(features)
    drawn = []
    for source in range(num_sources):
        mine_n = known_n[source_n[known_n] == source]
        generator = np.random.Generator(np.random.Philox(key=[work.config.seed, source]))
        drawn.append(np.sort(generator.permutation(mine_n)[:most]))
    sample_m = np.concatenate(drawn)
    return sample_m[directions(features, sample_m).any(axis=1)]


def known_samples(features: FeatureSource) -> Integer[np.ndarray, " n"]:
    """Samples that a feature was computed of."""
    if isinstance(features, SparseFeatures):
        return features.samples_m
    return np.arange(len(features))
