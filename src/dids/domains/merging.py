"""Merging: domains too small to estimate join their nearest neighbour, smallest first.

Axes: k domains, d feature dimensions.
"""

import numpy as np
from jaxtyping import Float, Integer


def merged_into(
    centroid_kd: Float[np.ndarray, "k d"],
    size_k: Integer[np.ndarray, " k"],
    group_k: Integer[np.ndarray, " k"],
    min_samples: int,
) -> Integer[np.ndarray, " k"]:
    """Which domain each domain ends up in.

    Args:
        centroid_kd: Centres of unit length.
        size_k: Samples of each domain.
        group_k: Domains merge only with others of their group (their source).
        min_samples: Smaller domains are merged; the last one of a group stays, however small.

    Returns:
        For each domain the number of one that stays.

    Example:
        >>> centres = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> merged_into(centres, np.array([9, 9, 1]), np.zeros(3, int), 5)
        array([0, 1, 1])
    """
    target_k = np.arange(len(size_k))
    sum_kd = centroid_kd.astype(np.float64) * size_k[:, None]
    size_k = size_k.astype(np.int64)
    is_alive_k = np.ones(len(size_k), dtype=bool)
    is_lonely_k = np.zeros(len(size_k), dtype=bool)
    while True:
        is_small_k = is_alive_k & ~is_lonely_k & (size_k < min_samples)
        if not is_small_k.any():
            return target_k
        small = int(np.where(is_small_k, size_k, np.iinfo(np.int64).max).argmin())
        is_other_k = is_alive_k & (group_k == group_k[small])
        is_other_k[small] = False
        if not is_other_k.any():
            is_lonely_k[small] = True
            continue
        length_k = np.linalg.norm(sum_kd, axis=1)
        cosine_k = sum_kd @ sum_kd[small] / np.maximum(length_k, np.finfo(np.float64).tiny)
        nearest = int(np.where(is_other_k, cosine_k, -np.inf).argmax())
        sum_kd[nearest] += sum_kd[small]
        size_k[nearest] += size_k[small]
        is_alive_k[small] = False
        target_k[target_k == small] = nearest
