"""Domains made of others: one split, several merged, one added; the others stay as they are.

Axes: n samples, m samples of one domain, k domains, s sources.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Integer

from dids.domains.clustering import clusters_of, described
from dids.domains.domains import Domains
from dids.domains.feature_source import FeatureSource, SomeSamples, have_direction
from dids.errors import InputError


def split_domain(
    domains: Domains,
    name: str,
    number: int,
    source_n: Integer[np.ndarray, " n"],
    features: FeatureSource | None,
    vectors: FeatureSource,
    seed: int,
) -> Domains:
    """Divide a domain by its samples' gradient features, or by their text where there are none.

    Args:
        domains: Which it is one of.
        name: Of the domain; its parts are ``NAME/0``, ``NAME/1`` and so on, the largest first.
        number: Of parts.
        source_n: Source of every sample.
        features: Gradient features by sample, zero where there are none; None: there are none.
        vectors: Cheap vectors of all samples.
        seed: Of the clustering.

    Raises:
        InputError: If there is no such domain, or it cannot be divided like that.
    """
    domain = _number_of(domains, name, "--split")
    ids = np.flatnonzero(domains.domain_of_sample == domain)
    if not 2 <= number <= len(ids):
        raise InputError(
            f"--split {name}={number}: the number of parts must be from 2 to the domain's "
            f"{len(ids)} samples."
        )
    is_known_m = np.zeros(len(ids), dtype=bool)
    if features is not None:
        is_known_m = have_direction(features, ids)
    if features is None or not is_known_m.any():
        features, others = vectors, None
    else:
        others = None if is_known_m.all() else vectors
    part_m = clusters_of(features, others, ids, number, 1, seed, None)
    _, part_m, size_p = np.unique(part_m, return_inverse=True, return_counts=True)
    if len(size_p) < number:
        raise InputError(
            f"--split {name}={number}: its samples fall into {len(size_p)} different parts only; "
            "ask for fewer."
        )
    by_size = np.argsort(-size_p, kind="stable")
    rank_p = np.empty_like(by_size)
    rank_p[by_size] = np.arange(number)
    moved_n = _shifted(domains.domain_of_sample, domain, number - 1)
    moved_n[ids] = domain + rank_p[part_m]
    names = [
        *domains.names[:domain],
        *(f"{name}/{part}" for part in range(number)),
        *domains.names[domain + 1 :],
    ]
    new = range(domain, domain + number)
    return _described(domains, moved_n, names, new, source_n, features)


def merged_domains(
    domains: Domains,
    name: str,
    merged: Sequence[str],
    source_n: Integer[np.ndarray, " n"],
    features: FeatureSource | None,
) -> Domains:
    """Make one domain of several; it takes the place of the first.

    Args:
        domains: Which they are among.
        name: Of the new domain.
        merged: Names of those that it is made of.
        source_n: Source of every sample.
        features: Gradient features by sample.

    Raises:
        InputError: If there is no such domain, or only one is named.
    """
    numbers = sorted({_number_of(domains, other, "--merge") for other in merged})
    if len(numbers) < 2:
        raise InputError(f"--merge {name}: name at least two domains to merge.")
    first = numbers[0]
    kept = [k for k in range(len(domains)) if k == first or k not in numbers]
    number_k = np.full(len(domains), kept.index(first), dtype=np.int64)
    for new, old in enumerate(kept):
        number_k[old] = new
    names = [name if k == first else domains.names[k] for k in kept]
    moved_n = number_k[domains.domain_of_sample]
    return _described(domains, moved_n, names, [kept.index(first)], source_n, features)


def with_new_source(domains: Domains, name: str, num_samples: int) -> Domains:
    """One domain more, of the samples of a source that joins the run; they come behind all others.

    Args:
        domains: Those of before.
        name: Of the source and its domain.
        num_samples: Its samples.
    """
    old_n = domains.domain_of_sample
    moved_n = np.concatenate([old_n, np.full(num_samples, len(domains), dtype=old_n.dtype)])
    num_sources = domains.source_counts_ks.shape[1] + 1
    source_n = np.full(len(moved_n), num_sources - 1, dtype=np.int32)
    return _described(
        domains, moved_n, [*domains.names, name], [len(domains)], source_n, None, num_sources
    )


def _shifted(domain_n: np.ndarray, domain: int, by: int) -> np.ndarray:
    return np.where(domain_n > domain, domain_n + by, domain_n)


def _number_of(domains: Domains, name: str, option: str) -> int:
    if name not in domains.names:
        raise InputError(
            f"{option}: there is no domain '{name}'; the domains are {', '.join(domains.names)}."
        )
    return domains.names.index(name)


def _described(
    before: Domains,
    domain_n: np.ndarray,
    names: list[str],
    new: Sequence[int],
    source_n: np.ndarray,
    features: FeatureSource | None,
    num_sources: int | None = None,
) -> Domains:
    """The domains with these samples; what is known of those that stay is kept."""
    doubles = {name for name in names if names.count(name) > 1}
    if doubles:
        raise InputError(f"two domains would be called '{min(doubles)}'; choose another name.")
    old_by_name = {name: k for k, name in enumerate(before.names)}
    num_sources = num_sources or before.source_counts_ks.shape[1]
    dim = before.centroid_kd.shape[1]
    centroid_kd = np.zeros((len(names), dim), dtype=before.centroid_kd.dtype)
    counts_ks = np.zeros((len(names), num_sources), dtype=np.int64)
    central: list[list[int]] = []
    cosines: list[float] = []
    for domain, name in enumerate(names):
        if domain not in new:
            old = old_by_name[name]
            centroid_kd[domain] = before.centroid_kd[old]
            old_s = before.source_counts_ks[old]
            counts_ks[domain, : len(old_s)] = old_s
            central.append(before.central_samples[old])
            cosines.append(before.cosines[old])
            continue
        ids = np.flatnonzero(domain_n == domain)
        counts_ks[domain] = np.bincount(source_n[ids], minlength=num_sources)
        own = None if features is None else SomeSamples(features, ids)
        centre_1d, places, mean = described(own, np.zeros(len(ids), dtype=np.int32), 1)
        if dim and centre_1d.shape[1] == dim:
            centroid_kd[domain] = centre_1d[0]
        central.append([int(ids[place]) for place in places[0]])
        cosines.append(float(mean[0]))
    return replace(
        before,
        names=names,
        domain_of_sample=domain_n.astype(np.int32),
        centroid_kd=centroid_kd,
        source_counts_ks=counts_ks,
        central_samples=central,
        cosines=cosines,
        stability=None,
    )
