"""Stability: whether the same features, clustered with another seed, give the same domains.

Where clusters stay within their source, the borders of sources are given and not found: agreement
is then the mean over the sources that were divided, weighted by their samples.

Axes: n samples, m samples of a part, or those compared.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Integer

from dids.domains.agreement import (
    Agreement,
    adjusted_rand_index,
    normalised_mutual_information,
)
from dids.domains.clustering import NumDomains, clusters
from dids.domains.domains import Domains
from dids.domains.feature_source import FeatureSource, SomeSamples

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
    vectors: FeatureSource | None = None,
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
        vectors: As there.
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
        vectors=None if vectors is None else SomeSamples(vectors, samples_m),
        progress=progress,
    )
    return agreement_within(
        first_m, second_m, source_m if within == "source" else np.zeros_like(source_m)
    )


def agreement_within(
    first_n: Integer[np.ndarray, " n"],
    second_n: Integer[np.ndarray, " n"],
    border_n: Integer[np.ndarray, " n"],
) -> Agreement | None:
    """Agreement of two groupings inside borders that both were given.

    Args:
        first_n: Group of each sample.
        second_n: Group of each sample.
        border_n: Number of the part (the source) that groups stay within.

    Returns:
        The mean over the parts that either divides, weighted by their samples; None where neither
        divides any.
    """
    rand = information = 0.0
    num_samples = 0
    for part in np.unique(border_n):
        first_m, second_m = first_n[border_n == part], second_n[border_n == part]
        if max(len(np.unique(first_m)), len(np.unique(second_m))) > 1:
            rand += adjusted_rand_index(first_m, second_m) * len(first_m)
            information += normalised_mutual_information(first_m, second_m) * len(first_m)
            num_samples += len(first_m)
    if num_samples == 0:
        return None
    return Agreement(rand / num_samples, information / num_samples, num_samples)
