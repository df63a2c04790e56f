"""Gradient features of a few samples on the proxy, drawn evenly: of domains, and of tasks.

Axes: n samples, m samples drawn, d feature dimensions.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer

from dids.data.dataset import TokenDataset
from dids.gradients.compute_features import features_of
from dids.run.projection import projection_of
from dids.run.workspace import Workspace

MOST_SAMPLES = 64
"""Of a domain or task, since mean directions and distances of so many are known to a few per cent,
and computing them takes no longer than measuring impact once."""
FEWEST_SAMPLES = 16
"""So many of a domain are taken even where the run's own features are of fewer."""


def task_features(work: Workspace) -> list[Float[np.ndarray, "_ d"]]:
    """Features of up to `MOST_SAMPLES` validation samples of every task that has a loss."""
    found = []
    for index, task in enumerate(work.scored_tasks):
        dataset = work.task_dataset(task, "validation")
        everything = np.arange(len(dataset.lengths))
        is_stored_n = np.ones(len(everything), dtype=bool)  # none is preferred
        drawn_m = drawn_samples(dataset, everything, is_stored_n, [work.config.seed, 2**32 + index])
        found.append(features_on_proxy(work, dataset, [drawn_m], f"features of {task}")[0])
    return found


def drawn_samples(
    dataset: TokenDataset,
    sample_n: Integer[np.ndarray, " n"],
    is_stored_n: Bool[np.ndarray, " _"],
    key: list[int],
) -> Integer[np.ndarray, " m"]:
    """Samples drawn evenly: of those whose feature is known, and of others where these are few.

    Args:
        dataset: Where they are.
        sample_n: Whom to draw from.
        is_stored_n: Of every sample of the data set, whether its feature is known.
        key: Of the draw.
    """
    scored_n = sample_n[dataset.scored_counts[sample_n] > 0]
    shuffled_n = np.random.Generator(np.random.Philox(key=key)).permutation(scored_n)
    known_n = shuffled_n[is_stored_n[shuffled_n]][:MOST_SAMPLES]
    others_n = shuffled_n[~is_stored_n[shuffled_n]]
    return np.sort(np.concatenate([known_n, others_n[: max(0, FEWEST_SAMPLES - len(known_n))]]))


def features_on_proxy(
    work: Workspace,
    dataset: TokenDataset,
    samples: Sequence[Integer[np.ndarray, " _"]],
    title: str,
) -> list[Float[np.ndarray, "_ d"]]:
    """Features computed on the proxy, group by group.

    Args:
        work: The run.
        dataset: Where the samples are.
        samples: Of every group.
        title: Of the progress bar.
    """
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
