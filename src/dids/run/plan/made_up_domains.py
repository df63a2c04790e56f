"""Domains before there are any: as many as there will be, dealt out evenly, and what finding costs.

Clustering costs by sizes alone: passes over the features, and products of features with centres.
Two fits of made-up features tell the price of either.

Axes: n samples, k domains, d feature dimensions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dids.config import Config
from dids.domains.cluster_counts import shared_counts
from dids.domains.clustering import cluster_features, described
from dids.domains.domains import Domains
from dids.domains.feature_map import feature_map
from dids.domains.naming import domain_names
from dids.domains.spherical_kmeans import MAX_TRAINING_SAMPLES
from dids.domains.stability import MAX_COMPARED, seed_stability
from dids.gradients.feature_store import FeatureStore

MOST_SAMPLES = 16_384
"""That are clustered to see what it costs."""
_ITERATIONS = 20
"""Of the training of centres, as in `dids.domains.spherical_kmeans`."""


def dealt_domains(source_n: np.ndarray, source_names: Sequence[str], num_domains: int) -> Domains:
    """Domains without features: every source's samples dealt out to its share of the domains.

    Args:
        source_n: Source of each sample.
        source_names: Names of the sources.
        num_domains: Domains in all; as many as there are sources, at least, and as there are
            samples, at most.
    """
    num_sources = len(source_names)
    size_s = np.bincount(source_n, minlength=num_sources)
    most = min(max(num_domains, int((size_s > 0).sum())), len(source_n))
    count_s = shared_counts(size_s, most)
    first_s = np.cumsum(count_s) - count_s
    starts_s = np.cumsum(size_s) - size_s
    place_n = np.arange(len(source_n)) - starts_s[source_n]
    domain_n = (first_s[source_n] + place_n % np.maximum(count_s, 1)[source_n]).astype(np.int32)
    counts_ks = np.zeros((most, num_sources), dtype=np.int64)
    np.add.at(counts_ks, (domain_n, source_n), 1)
    centroid_kd, central, cosines = described(None, domain_n, most)
    return Domains(
        domain_names(counts_ks, source_names), domain_n, centroid_kd, counts_ks, central, cosines
    )


@dataclass(frozen=True)
class Clustering:
    """The sizes that decide what clustering costs.

    Attributes:
        group_sizes: Samples of every group that is clustered on its own.
        counts: Clusters of each.
    """

    group_sizes: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(
        cls, within: Literal["source", "all"], sizes: Sequence[int], number: int
    ) -> "Clustering":
        """The sizes of a run, its clusters shared as there.

        Args:
            within: As in the config.
            sizes: Samples of every source.
            number: Clusters in all.

        Raises:
            InputError: If the number does not fit the sources or the samples.
        """
        size_g = np.array(sizes if within == "source" else [sum(sizes)])
        return cls(tuple(size_g.tolist()), tuple(shared_counts(size_g, number).tolist()))

    @property
    def num_samples(self) -> int:
        """Of all groups."""
        return sum(self.group_sizes)

    def scaled(self, share: float) -> "Clustering":
        """A fraction of every group, in as many clusters as it has samples for."""
        sizes = tuple(max(1, round(share * size)) for size in self.group_sizes)
        return Clustering(sizes, tuple(map(min, self.counts, sizes)))

    def undivided(self) -> "Clustering":
        """The same samples, one cluster a group."""
        return Clustering(self.group_sizes, (1,) * len(self.counts))

    def passes(self) -> float:
        """Samples looked at, with those looked at again for the stability of the domains."""
        return self.num_samples + min(self.num_samples, MAX_COMPARED)

    def products(self) -> float:
        """Inner products of a sample and a centre, likewise."""
        again = self.scaled(min(1.0, MAX_COMPARED / self.num_samples))
        return sum(each.products_of(MAX_TRAINING_SAMPLES) for each in (self, again))

    def products_of(self, training_samples: int) -> float:
        """Products of one clustering whose centres are trained on so many samples each."""
        return float(
            sum(
                size * count  # assignment
                + _ITERATIONS * min(size, training_samples * count) * count
                + min(size, 32 * count) * count * (2 + int(math.log(count)))  # the start
                for size, count in zip(self.group_sizes, self.counts, strict=True)
            )
        )


@dataclass(frozen=True)
class ClusteringPrice:
    """Seconds of a pass over one sample, of one product, and of what does not grow.

    Attributes:
        num_samples: That the prices were seen on.
    """

    num_samples: int
    fixed_s: float
    pass_s: float
    product_s: float

    def time_s(self, clustering: Clustering) -> float:
        """Of clustering, naming and describing domains, and of their stability."""
        by_sample = self.pass_s * clustering.passes()
        return self.fixed_s + by_sample + self.product_s * clustering.products()


def clustering_price(
    config: Config, clustering: Clustering, folder: Path, now: Callable[[], float]
) -> ClusteringPrice:
    """Cluster made-up features twice, once undivided, and tell the prices apart.

    Args:
        config: As resolved.
        clustering: Of the whole run.
        folder: For the features.
        now: The clock, in seconds.
    """
    fewer = clustering.scaled(min(1.0, MOST_SAMPLES / clustering.num_samples))
    within = config.domains.within
    part = Clustering.of(within, fewer.group_sizes, sum(fewer.counts))
    store = _made_up(config, part.num_samples, folder)
    whole = part.undivided()
    plain_s, _ = _times_s(config, whole, store, now)
    divided_s, fixed_s = _times_s(config, part, store, now)
    pass_s = plain_s / whole.passes()
    more = part.products() - whole.products()
    product_s = max(0.0, divided_s - plain_s) / more if more else 0.0
    return ClusteringPrice(part.num_samples, fixed_s, pass_s, product_s)


def _times_s(
    config: Config, clustering: Clustering, store: FeatureStore, now: Callable[[], float]
) -> tuple[float, float]:
    """Of clustering with its stability, and of the map of the domains."""
    within, number = config.domains.within, sum(clustering.counts)
    source_n = np.repeat(np.arange(len(clustering.group_sizes)), clustering.group_sizes)
    names = [str(group) for group in range(len(clustering.group_sizes))]
    began_s = now()
    domains = cluster_features(store, source_n, number, within, config.seed, source_names=names)
    seed_stability(
        domains, store, source_n, number, within, config.seed, num_sources=len(names), min_samples=1
    )
    clustered_s = now()
    feature_map(store, domains.domain_of_sample, config.seed)
    return clustered_s - began_s, now() - clustered_s


def _made_up(config: Config, num_samples: int, folder: Path) -> FeatureStore:
    settings = config.features
    store = FeatureStore.create(folder, "made up", num_samples, settings.dim, dtype=settings.dtype)
    generator = np.random.default_rng(config.seed)
    for shard in store.missing_shards():
        shape = (len(store.shard_range(shard)), settings.dim)
        store.write_shard(shard, generator.standard_normal(shape, dtype=np.float32))
    return store
