"""How many clusters: a given number shared over sources, or grown until more no longer pays.

Axes: s sources, n samples.
"""

import numpy as np
from jaxtyping import Integer

from dids.domains.feature_source import FeatureSource, directions
from dids.domains.spherical_kmeans import spherical_centroids, training_samples
from dids.errors import InputError

MIN_GAIN = 0.02
"""Mean cosine to the centre, on held-out samples, that a doubling of clusters must gain."""
MAX_CLUSTERS = 64
"""Clusters at most when their number is chosen: each needs gradients of its own in every round."""
_MAX_HELD_OUT = 2048


def shared_counts(size_s: Integer[np.ndarray, " s"], num_domains: int) -> Integer[np.ndarray, " s"]:
    """Share clusters over sources: one each, the rest one by one by highest average (D'Hondt).

    The measure is the square root of a source's samples, between one domain a source and domains of
    equal size: large sources are split finer, small ones are not crushed. No source gets more than
    its samples, or fewer than a smaller source does.

    Args:
        size_s: Samples of each source; a source without samples gets none.
        num_domains: Clusters in all.

    Returns:
        Clusters of each source.

    Raises:
        InputError: If there are fewer clusters than sources, or more than samples.

    Example:
        >>> shared_counts(np.array([100, 400, 1]), 7)
        array([2, 4, 1])
    """
    num_sources, num_samples = int((size_s > 0).sum()), int(size_s.sum())
    if num_domains < num_sources:
        raise InputError(
            f"domains.number is {num_domains}, but clusters that stay within their source need at "
            f"least {num_sources}, one for each source."
        )
    if num_domains > num_samples:
        raise InputError(
            f"domains.number is {num_domains}, but there are only {num_samples} samples; "
            "it must not be larger than their number."
        )
    count_s: np.ndarray = np.minimum(size_s, 1).astype(np.int64)
    for _ in range(num_domains - num_sources):
        # After the first cluster a source has ``count - 1`` extra ones.
        average_s = np.sqrt(size_s) / np.maximum(count_s, 1)
        count_s[np.where(count_s < size_s, average_s, -1.0).argmax()] += 1
    return count_s


def chosen_count(
    source: FeatureSource, samples_n: Integer[np.ndarray, " n"], min_samples: int, seed: int
) -> int:
    """Double the clusters as long as held-out samples come clearly nearer to a centre.

    A tenth of the samples is held out. Doubling stops when it gains less than ``MIN_GAIN`` in their
    mean cosine, when a cluster would have fewer than ``min_samples`` samples on average, or at
    ``MAX_CLUSTERS``.

    Args:
        source: Features.
        samples_n: The samples to be clustered.
        min_samples: Samples that a domain needs.
        seed: Seed of the split and of the clustering.

    Returns:
        A number of clusters, at least 1.
    """
    order = np.random.default_rng(seed).permutation(len(samples_n))
    num_held_out = min(len(samples_n) // 10, _MAX_HELD_OUT)
    limit = min(MAX_CLUSTERS, (len(samples_n) - num_held_out) // max(min_samples, 1))
    if num_held_out == 0 or limit < 2:
        return 1
    held_out_md = directions(source, np.sort(samples_n[order[:num_held_out]]))
    kept_n = np.sort(samples_n[order[num_held_out:]])
    count, best = 1, -1.0
    while count <= limit:
        training_md = directions(source, training_samples(kept_n, count, seed))
        centroid_kd = spherical_centroids(training_md, count, seed)
        cosine = float((held_out_md @ centroid_kd.T).max(1).mean())
        if cosine - best < MIN_GAIN:
            break
        count, best = 2 * count, cosine
    return max(count // 2, 1)
