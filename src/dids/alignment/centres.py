"""Centres of k-means, by faiss: where mixtures start and prototypes lie.

Axes: n samples, k centres, d dimensions.
"""

import faiss
import numpy as np
from jaxtyping import Float

_ITERATIONS = 20
_STARTS = 3


def kmeans_centres(
    feature_nd: Float[np.ndarray, "n d"], num_centres: int, seed: int
) -> Float[np.ndarray, "k d"]:
    """The best of a few runs.

    Args:
        feature_nd: Samples, in an order that is always the same: the start depends on it.
        num_centres: How many; fewer come back where there are fewer samples.
        seed: Of the starts.
    """
    row_nd = np.ascontiguousarray(feature_nd, dtype=np.float32)
    if len(row_nd) <= num_centres:
        return np.unique(row_nd, axis=0)
    kmeans = faiss.Kmeans(
        row_nd.shape[1],
        num_centres,
        niter=_ITERATIONS,
        nredo=_STARTS,
        seed=seed % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=len(row_nd),
    )
    kmeans.train(row_nd)
    return np.asarray(kmeans.centroids)
