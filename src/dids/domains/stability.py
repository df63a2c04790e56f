"""Stability: whether the same features, clustered with another seed, give the same domains.

Where clusters stay within their source, the borders of sources are given and not found: agreement
is then the mean over the sources that were divided, weighted by their samples.

Axes: n samples, m samples compared, d feature dimensions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Integer

from dids.domains.agreement import (
    Agreement,
    adjusted_rand_index,
    normalised_mutual_information,
)
from dids.domains.clustering import NumDomains, clusters
from dids.domains.domains import Domains
from dids.domains.feature_source import FeatureSource

MAX_COMPARED = 50_000
"""Samples that are clustered again, at most: enough for a hundredth of the index."""


def seed_stability(
    domains: Domains,
    features: FeatureSource,
    source_of_sample: Integer[np.ndarray, " n"],
    num_domains: NumDomains,
    within: Literal["source", "all"],
    seed: int,
    *,
    num_sources: int,
    min_samples: int,
    progress: Callable[[int], None] | None = None,
) -> Agreement | None:
    """Cluster samples again with the next seed and compare.

    Args:
        domains: What the clustering gave.
        features: What it was given, and so on.
        source_of_sample: As there.
        num_domains: As there.
        within: As there.
        seed: As there; the next one is used here.
        num_sources: How many sources there are.
        min_samples: As there; scaled down where only some samples are compared.
        progress: Told how many samples were assigned.

    Returns:
        The agreement; None where nothing was divided.
    """
    num_samples = len(source_of_sample)
    samples_m = np.arange(num_samples)
    if num_samples > MAX_COMPARED:
        generator = np.random.default_rng([seed, num_samples])
        samples_m = np.sort(generator.choice(num_samples, MAX_COMPARED, replace=False))
    source_m, first_m = source_of_sample[samples_m], domains.domain_of_sample[samples_m]
    number = min(num_domains, len(samples_m)) if isinstance(num_domains, int) else num_domains
    second_m = clusters(
        SomeSamples(features, samples_m),
        source_m,
        number,
        within,
        seed + 1,
        num_sources=num_sources,
        min_samples=max(1, round(min_samples * len(samples_m) / num_samples)),
        progress=progress,
    )
    groups = [samples_m >= 0]
    if within == "source":
        groups = [source_m == source for source in range(num_sources)]
    divided = [
        group
        for group in groups
        if max(_num_groups(first_m[group]), _num_groups(second_m[group])) > 1
    ]
    return _mean([_agreement(first_m[group], second_m[group]) for group in divided])


@dataclass(frozen=True, eq=False)
class SomeSamples:
    """The features of some samples, numbered from 0."""

    source: FeatureSource
    samples_m: Integer[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.samples_m)

    def __getitem__(self, places: Integer[np.ndarray, " p"]) -> Float[np.ndarray, "p d"]:
        """Features of the samples at these places."""
        return self.source[self.samples_m[places]]


def _num_groups(group_n: Integer[np.ndarray, " n"]) -> int:
    return len(np.unique(group_n))


def _agreement(
    first_n: Integer[np.ndarray, " n"], second_n: Integer[np.ndarray, " n"]
) -> Agreement:
    return Agreement(
        adjusted_rand_index(first_n, second_n),
        normalised_mutual_information(first_n, second_n),
        len(first_n),
    )


def _mean(agreements: list[Agreement]) -> Agreement | None:
    """Weighted by samples; None of none."""
    num_samples = sum(agreement.num_samples for agreement in agreements)
    if num_samples == 0:
        return None
    rand = sum(each.adjusted_rand * each.num_samples for each in agreements)
    information = sum(each.mutual_information * each.num_samples for each in agreements)
    return Agreement(rand / num_samples, information / num_samples, num_samples)
