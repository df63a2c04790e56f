"""Centres from a sample beside the full fit: how tight, and how alike.

``python -m benchmarks.clustering.against_full --num 1000000 --dim 256 --domains 64`` fits the same
k-means, from the same kind of start, to the samples that the package trains on and to all of them.
What two full fits have in common that differ in their seed alone is what can be expected at most.

Axes: n samples, k clusters, d feature dimensions.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from benchmarks.clustering.mixture_data import KEY, mixture_store
from benchmarks.tightness import mean_cosine
from dids.domains.agreement import adjusted_rand_index
from dids.domains.feature_source import directions
from dids.domains.spherical_kmeans import nearest_centroids, spherical_centroids, training_samples
from dids.gradients.feature_store import FeatureStore


def clusters_n(
    store: FeatureStore, trained_on: Integer[np.ndarray, " m"], num_clusters: int, seed: int
) -> Integer[np.ndarray, " n"]:
    """The nearest centre of every sample; the centres trained on some."""
    centroid_kd = spherical_centroids(directions(store, trained_on), num_clusters, seed)
    return nearest_centroids(store, np.arange(len(store)), centroid_kd).cluster_n


def main() -> None:
    """Print a line a seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=1_000_000, help="samples")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--domains", type=int, default=64)
    parser.add_argument("--centres", type=int, default=400, help="of the mixture")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="a store to keep and reuse")
    parser.add_argument("--key", default=KEY, help="of the store, if it is another one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "features"
        store = FeatureStore.open(folder, arguments.key)
        if store is None:
            store = mixture_store(folder, arguments.num, arguments.dim, arguments.centres, 0)
        _print_rows(store, arguments.domains, arguments.seeds)


def _print_rows(store: FeatureStore, num_clusters: int, num_seeds: int) -> None:
    everything = np.arange(len(store))
    sampled, full = [], []
    for seed in range(num_seeds):
        began_s = time.process_time()
        some = training_samples(everything, num_clusters, seed)
        sampled.append(clusters_n(store, some, num_clusters, seed))
        between_s = time.process_time()
        full.append(clusters_n(store, everything, num_clusters, seed))
        print(
            f"{len(store):,} x {store.dim} into {num_clusters}, seed {seed}: trained on "
            f"{len(some):,}: {between_s - began_s:.1f} cpu s, cosine "
            f"{mean_cosine(store, sampled[-1]):.4f}; on all: "
            f"{time.process_time() - between_s:.1f} cpu s, {mean_cosine(store, full[-1]):.4f}",
            flush=True,
        )
    same = [adjusted_rand_index(a, b) for a, b in zip(sampled, full, strict=True)]
    other = [adjusted_rand_index(full[i], full[i - 1]) for i in range(num_seeds)]
    print(f"adjusted Rand, sampled and full: {_spread(same)}; two full fits: {_spread(other)}")


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


if __name__ == "__main__":
    main()
