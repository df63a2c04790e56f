"""A share of the samples in which no kind of text is missing: some of every cheap cluster.

Axes: n samples, k cheap clusters.
"""

import numpy as np
from jaxtyping import Integer

from dids.domains.feature_source import FeatureSource, directions
from dids.domains.spherical_kmeans import (
    nearest_centroids,
    spherical_centroids,
    training_samples,
)

SAMPLES_PER_CLUSTER = 128
MAX_CLUSTERS = 256
MIN_DRAWN = 4
"""Samples of a cheap cluster, at least."""
TRAINING_SAMPLES = 32
"""A cluster: borders need not be exact, only every kind of text be met."""


def stratified_draw(
    vectors: FeatureSource, samples_n: Integer[np.ndarray, " n"], share: float, seed: int
) -> Integer[np.ndarray, " m"]:
    """Draw from every cheap cluster its share, and a few of the smallest.

    Args:
        vectors: Cheap vectors by sample, such as hashed n-grams.
        samples_n: Whom to draw from.
        share: Fraction of them, above 0.
        seed: Seed of clusters and draw.

    Returns:
        Sample numbers, ascending: a share of the samples, rounded up in every cluster.
    """
    num_clusters = min(max(len(samples_n) // SAMPLES_PER_CLUSTER, 1), MAX_CLUSTERS)
    training_m = training_samples(samples_n, num_clusters, seed, per_cluster=TRAINING_SAMPLES)
    centroid_kd = spherical_centroids(directions(vectors, training_m), num_clusters, seed)
    cluster_n = nearest_centroids(vectors, samples_n, centroid_kd).cluster_n
    # In a random order, the first so many of each cluster.
    shuffled_n = np.random.default_rng([seed, len(samples_n)]).permutation(len(samples_n))
    by_cluster_n = shuffled_n[np.argsort(cluster_n[shuffled_n], kind="stable")]
    size_k = np.bincount(cluster_n, minlength=len(centroid_kd))
    count_k = np.minimum(np.maximum(np.ceil(share * size_k), MIN_DRAWN), size_k)
    rank_n = np.arange(len(samples_n)) - np.repeat(np.cumsum(size_k) - size_k, size_k)
    return np.sort(samples_n[by_cluster_n[rank_n < np.repeat(count_k, size_k)]])
