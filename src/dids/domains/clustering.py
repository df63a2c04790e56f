"""From features to domains: cluster by direction, merge, name, find central samples.

Axes: n samples, k domains, s sources, d feature dimensions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Literal

import numpy as np
from jaxtyping import Float, Integer

from dids.domains.cluster_counts import chosen_count, shared_counts
from dids.domains.domains import Domains
from dids.domains.feature_source import FeatureSource, directions, have_direction
from dids.domains.merging import merged_into
from dids.domains.naming import domain_names
from dids.domains.placing import placed_clusters
from dids.domains.spherical_kmeans import (
    CHUNK,
    nearest_centroids,
    spherical_centroids,
    training_samples,
)
from dids.errors import InputError, check_choice

NumDomains = int | Literal["auto", "sources"]
NUM_CENTRAL = 5
"""Samples that are shown for each domain."""


def cluster_features(
    features: FeatureSource | None,
    source_of_sample: Integer[np.ndarray, " n"],
    num_domains: NumDomains,
    within: Literal["source", "all"] = "source",
    seed: int = 0,
    *,
    source_names: Sequence[str],
    min_samples: int = 1,
    vectors: FeatureSource | None = None,
    progress: Callable[[int], None] | None = None,
) -> Domains:
    """Group samples into domains.

    Args:
        features: Gradient features by sample; None is enough when sources are kept.
        source_of_sample: Source number of each sample.
        num_domains: How many; ``auto`` doubles them while held-out samples gain (see
            :func:`~dids.domains.cluster_counts.chosen_count`); ``sources`` keeps the sources.
        within: Cluster each ``source`` on its own, or ``all`` samples together.
        seed: Seed of everything random here.
        source_names: Names of the sources.
        min_samples: Smaller domains are merged into the nearest (of the same source if clusters
            stay within it).
        vectors: Cheap vectors of all samples, which place those without a feature (a zero row).
            None: these go where most samples are.
        progress: Told how many samples were assigned.

    Returns:
        Domains, by source and then by size; over all samples by size.

    Raises:
        InputError: If the number of domains does not fit the samples or the sources.
    """
    source_n = np.asarray(source_of_sample)
    num_domains = _checked(num_domains, within)
    if len(source_n) == 0 or int(source_n.max()) >= len(source_names):
        raise InputError(
            f"domains: there are {len(source_n)} samples of {len(source_names)} sources; every "
            "sample must be of one of them."
        )
    if num_domains == "sources" or features is None:
        if num_domains != "sources":
            raise InputError("clustering needs features unless domains.number is 'sources'.")
        return _domains(features, source_n, source_n, source_names, by_source=True)
    cluster_n = clusters(
        features,
        source_n,
        num_domains,
        within,
        seed,
        num_sources=len(source_names),
        min_samples=min_samples,
        vectors=vectors,
        progress=progress,
    )
    return _domains(features, cluster_n, source_n, source_names, by_source=within == "source")


def _checked(num_domains: object, within: str) -> NumDomains:
    """The number, or the word in its place, that was asked for."""
    check_choice("domains.within", within, ("source", "all"))
    if isinstance(num_domains, Integral):
        return int(num_domains)
    if num_domains == "auto" or num_domains == "sources":
        return num_domains
    raise InputError(
        f"domains.number must be a whole number, auto or sources, got {num_domains!r}."
    )


def clusters(
    features: FeatureSource,
    source_of_sample: Integer[np.ndarray, " n"],
    num_domains: NumDomains,
    within: Literal["source", "all"],
    seed: int,
    *,
    num_sources: int,
    min_samples: int,
    vectors: FeatureSource | None = None,
    progress: Callable[[int], None] | None = None,
) -> Integer[np.ndarray, " n"]:
    """The grouping alone, its groups neither ordered nor named; arguments as above.

    Returns:
        Cluster of each sample.

    Raises:
        InputError: If the number of domains does not fit the samples or the sources.
    """
    source_n = np.asarray(source_of_sample)
    num_domains = _checked(num_domains, within)
    if num_domains == "sources":
        return source_n.astype(np.int64)
    if len(features) != len(source_n):
        raise ValueError(f"there are {len(features)} features, but {len(source_n)} samples.")
    if isinstance(num_domains, int) and not 1 <= num_domains <= len(source_n):
        raise InputError(
            f"domains.number is {num_domains}, but must be from 1 to the {len(source_n)} samples."
        )
    sizes = [len(source_n)]
    if within == "source":
        sizes = np.bincount(source_n, minlength=num_sources).tolist()
    counts: list[int | None] = [None for _ in sizes]
    if isinstance(num_domains, int):
        counts = shared_counts(np.array(sizes), num_domains).tolist()
    cluster_n = np.zeros(len(source_n), dtype=np.int32)
    for number, count in enumerate(counts):
        if sizes[number] > 0:
            group = np.arange(len(source_n))
            if within == "source":
                group = np.flatnonzero(source_n == number)
            first = int(cluster_n.max()) + 1
            cluster_n[group] = first + clusters_of(
                features, vectors, group, count, min_samples, seed, progress
            )
    return cluster_n


def clusters_of(
    features: FeatureSource,
    vectors: FeatureSource | None,
    samples_m: Integer[np.ndarray, " m"],
    count: int | None,
    min_samples: int,
    seed: int,
    progress: Callable[[int], None] | None,
) -> Integer[np.ndarray, " m"]:
    """Clusters of one group of samples, the small ones merged; a count of None is chosen.

    Arguments as of `cluster_features`; ``samples_m`` are the group's.
    """
    is_known_m = np.ones(len(samples_m), dtype=bool)
    if vectors is not None:
        is_known_m = have_direction(features, samples_m)
        if not is_known_m.any():
            return np.zeros(len(samples_m), dtype=np.int32)
    known = samples_m[is_known_m]
    if count is None:
        share = len(known) / len(samples_m)
        count = chosen_count(features, known, math.ceil(min_samples * share), seed)
    training_md = directions(features, training_samples(known, count, seed))
    centroid_kd = spherical_centroids(training_md, count, seed)
    assigned = nearest_centroids(features, known, centroid_kd, progress)
    cluster_m = np.zeros(len(samples_m), dtype=np.int32)
    cluster_m[is_known_m] = assigned.cluster_n
    if vectors is not None:
        cluster_m[~is_known_m] = placed_clusters(
            vectors, features, known, centroid_kd, samples_m[~is_known_m], progress
        )
    used_k, cluster_m = _numbered(cluster_m)
    size_k = np.bincount(cluster_m)
    # Samples that nothing is known of are near nothing: they go where most samples are.
    cluster_m[np.flatnonzero(is_known_m)[assigned.cosine_n == 0]] = size_k.argmax()
    group_k = np.zeros(len(used_k), dtype=np.int64)
    size_k = np.bincount(cluster_m, minlength=len(used_k))
    target_k = merged_into(centroid_kd[used_k], size_k, group_k, min_samples)
    return target_k.astype(np.int32)[cluster_m]


def _numbered(
    cluster_n: Integer[np.ndarray, " n"],
) -> tuple[Integer[np.ndarray, " k"], Integer[np.ndarray, " n"]]:
    """The clusters that occur, ascending, and the place of each sample's among them.

    As ``np.unique`` with the inverse, which sorts all samples and holds them three times.
    """
    size_k = np.bincount(cluster_n)
    used_k = np.flatnonzero(size_k)
    place_k = np.zeros(len(size_k), dtype=np.int32)
    place_k[used_k] = np.arange(len(used_k))
    return used_k, place_k[cluster_n]


def _domains(
    features: FeatureSource | None,
    cluster_n: Integer[np.ndarray, " n"],
    source_n: Integer[np.ndarray, " n"],
    source_names: Sequence[str],
    *,
    by_source: bool,
) -> Domains:
    """Number, name and describe clusters."""
    _, domain_n = _numbered(cluster_n)
    size_k = np.bincount(domain_n)
    counts_ks = np.zeros((len(size_k), len(source_names)), dtype=np.int64)
    for start in range(0, len(domain_n), CHUNK):
        here = slice(start, start + CHUNK)
        np.add.at(counts_ks, (domain_n[here], source_n[here]), 1)
    order = np.argsort(-size_k, kind="stable")
    if by_source:
        order = order[np.argsort(counts_ks[order].argmax(1), kind="stable")]
    rank_k = np.empty(len(order), dtype=np.int32)
    rank_k[order] = np.arange(len(order))
    ranked_n, counts_ks = rank_k[domain_n], counts_ks[order]
    centroid_kd, central, cosines = described(features, ranked_n, len(size_k))
    names = domain_names(counts_ks, source_names)
    return Domains(names, ranked_n, centroid_kd, counts_ks, central, cosines)


def described(
    features: FeatureSource | None, domain_n: Integer[np.ndarray, " n"], num_domains: int
) -> tuple[Float[np.ndarray, "k d"], list[list[int]], list[float]]:
    """Mean directions, most central samples and mean cosines, in two passes of flat memory.

    Args:
        features: By sample; None: the first samples of each domain are taken for central.
        domain_n: Domain of each sample.
        num_domains: Number of domains.
    """
    if features is None:
        central = [
            np.flatnonzero(domain_n == domain)[:NUM_CENTRAL].tolist()
            for domain in range(num_domains)
        ]
        return np.zeros((num_domains, 0), dtype=np.float32), central, [0.0] * num_domains
    dim = directions(features, np.zeros(1, dtype=np.int64)).shape[1]
    sum_kd = np.zeros((num_domains, dim))
    for samples_m in _chunks(len(domain_n)):
        one_hot_km = (domain_n[samples_m] == np.arange(num_domains)[:, None]).astype(np.float32)
        sum_kd += one_hot_km @ directions(features, samples_m)
    if not np.isfinite(sum_kd).all():
        raise InputError("domains: a gradient feature has entries that are no numbers.")
    length_k1 = np.linalg.norm(sum_kd, axis=1, keepdims=True)
    centroid_kd = (sum_kd / np.where(length_k1 > 0, length_k1, 1.0)).astype(np.float32)
    known_k, total_k = np.zeros(num_domains, dtype=np.int64), np.zeros(num_domains)
    nearest = np.zeros(0, dtype=[("domain", "i4"), ("cosine", "f4"), ("sample", "i8")])
    for samples_m in _chunks(len(domain_n)):
        domain_m = domain_n[samples_m]
        cosine_m = (directions(features, samples_m) * centroid_kd[domain_m]).sum(1)
        # A sample without a feature has a cosine of exactly 0 and no say.
        known_k += np.bincount(domain_m[cosine_m != 0], minlength=num_domains)
        np.add.at(total_k, domain_m, cosine_m.astype(np.float64))
        here = np.empty(len(samples_m), dtype=nearest.dtype)
        here["domain"], here["cosine"], here["sample"] = domain_m, cosine_m, samples_m
        nearest = _nearest_of_each_domain(np.concatenate([nearest, here]))
    central = [nearest["sample"][nearest["domain"] == k].tolist() for k in range(num_domains)]
    return centroid_kd, central, (total_k / np.maximum(known_k, 1)).tolist()


def _nearest_of_each_domain(samples_m: np.ndarray) -> np.ndarray:
    """The `NUM_CENTRAL` samples of each domain with the largest cosine, the earliest of equals."""
    order = np.lexsort((samples_m["sample"], -samples_m["cosine"], samples_m["domain"]))
    samples_m = samples_m[order]
    first_m = np.searchsorted(samples_m["domain"], samples_m["domain"])
    return np.asarray(samples_m[np.arange(len(samples_m)) - first_m < NUM_CENTRAL])


def _chunks(num_samples: int) -> Iterator[Integer[np.ndarray, " m"]]:
    for start in range(0, num_samples, CHUNK):
        yield np.arange(start, min(start + CHUNK, num_samples))
