"""How tight clusters are: the mean cosine of samples to the mean direction of their cluster.

Axes: n samples, k clusters, d dimensions.
"""

import numpy as np

from dids.domains.feature_source import FeatureSource, directions
from dids.domains.spherical_kmeans import CHUNK


def mean_cosine(features: FeatureSource, cluster_n: np.ndarray) -> float:
    """Over all samples, chunk by chunk.

    A cluster's directions sum to a vector whose length is the sum of their cosines to it.
    """
    num_clusters = int(cluster_n.max()) + 1
    sum_kd = np.zeros((num_clusters, features[np.arange(1)].shape[1]))
    for start in range(0, len(cluster_n), CHUNK):
        here = cluster_n[start : start + CHUNK]
        direction_nd = directions(features, np.arange(start, start + len(here)))
        one_hot_kn = (here == np.arange(num_clusters)[:, None]).astype(np.float32)
        sum_kd += one_hot_kn @ direction_nd
    return float(np.linalg.norm(sum_kd, axis=1).sum() / len(cluster_n))
