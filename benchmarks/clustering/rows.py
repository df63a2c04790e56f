"""The rows: each takes a feature store and gives a cluster for every sample.

Rivals get what they need: directions in float32 in memory. What a row reads and keeps is part of
its time and of its memory.

Axes: n samples, k clusters, d dimensions.
"""

from collections.abc import Callable

import numpy as np

from dids.domains.clustering import cluster_features
from dids.domains.feature_source import directions
from dids.domains.spherical_kmeans import CHUNK
from dids.gradients.feature_store import FeatureStore

_ITERATIONS = 20


def dids_row(store: FeatureStore, num_clusters: int, seed: int) -> np.ndarray:
    """The package, domains named and described."""
    source_n = np.zeros(len(store), dtype=np.int32)
    domains = cluster_features(
        store, source_n, num_clusters, "all", seed, source_names=["all"], progress=None
    )
    return domains.domain_of_sample


def faiss_sampled_row(store: FeatureStore, num_clusters: int, seed: int) -> np.ndarray:
    """Faiss as it comes: centres trained on 256 samples each."""
    return _faiss(store, num_clusters, seed, max_points_per_centroid=256)


def faiss_full_row(store: FeatureStore, num_clusters: int, seed: int) -> np.ndarray:
    """Faiss on everything."""
    return _faiss(store, num_clusters, seed, max_points_per_centroid=len(store))


def minibatch_row(store: FeatureStore, num_clusters: int, seed: int) -> np.ndarray:
    """scikit-learn's mini-batches, one start; Euclidean on directions."""
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(num_clusters, random_state=seed, n_init=1, batch_size=4096)
    return np.asarray(kmeans.fit_predict(_all_directions(store)))


ROWS: dict[str, Callable[[FeatureStore, int, int], np.ndarray]] = {
    "dids": dids_row,
    "faiss, 256 samples a centre": faiss_sampled_row,
    "faiss, all samples": faiss_full_row,
    "scikit-learn, mini-batches": minibatch_row,
}


def _faiss(
    store: FeatureStore, num_clusters: int, seed: int, max_points_per_centroid: int
) -> np.ndarray:
    import faiss

    direction_nd = _all_directions(store)
    kmeans = faiss.Kmeans(
        store.dim,
        num_clusters,
        niter=_ITERATIONS,
        spherical=True,
        seed=seed,
        max_points_per_centroid=max_points_per_centroid,
    )
    kmeans.train(direction_nd)
    _, nearest_n1 = kmeans.index.search(direction_nd, 1)
    return np.asarray(nearest_n1[:, 0])


def _all_directions(store: FeatureStore) -> np.ndarray:
    direction_nd = np.empty((len(store), store.dim), dtype=np.float32)
    for start in range(0, len(store), CHUNK):
        stop = min(start + CHUNK, len(store))
        direction_nd[start:stop] = directions(store, np.arange(start, stop))
    return direction_nd
