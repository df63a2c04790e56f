"""A feature store of made-up directions: noisy copies of random centres, of uneven weight.

Axes: n samples of a shard, c centres, d dimensions.
"""

from pathlib import Path

import numpy as np

from dids.gradients.feature_store import FeatureStore

KEY = "mixture"
_SIGNAL = 0.6
"""Cosine of a sample to its centre, about."""
_SHARD = 8192


def mixture_store(folder: Path, num: int, dim: int, num_centres: int, seed: int) -> FeatureStore:
    """Write ``num`` features, float16, shard by shard.

    Args:
        folder: Where to.
        num: Samples.
        dim: Dimensions.
        num_centres: Centres; their weights are log-normal, so that small ones exist.
        seed: Of everything.

    Returns:
        The store.
    """
    generator = np.random.default_rng(seed)
    centre_cd = generator.standard_normal((num_centres, dim), dtype=np.float32)
    centre_cd /= np.linalg.norm(centre_cd, axis=1, keepdims=True)
    weight_c = generator.lognormal(0.0, 1.0, num_centres)
    store = FeatureStore.create(folder, KEY, num, dim, shard_size=_SHARD)
    noise = float(np.sqrt((1 - _SIGNAL**2) / dim))
    for shard in store.missing_shards():
        rows = len(store.shard_range(shard))
        label_n = generator.choice(num_centres, rows, p=weight_c / weight_c.sum())
        feature_nd = generator.standard_normal((rows, dim), dtype=np.float32)
        feature_nd *= noise
        feature_nd += _SIGNAL * centre_cd[label_n]
        store.write_shard(shard, feature_nd)
    return store
