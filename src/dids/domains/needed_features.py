"""Which samples need a gradient feature at all: features are what clustering costs.

A source that is to stay one domain needs no features to be assigned, only enough of them to show
its most central samples.

Axes: n samples.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Integer

from dids.domains.cluster_counts import shared_counts

SHOWN_FROM = 256
"""Samples of an undivided source that its most central ones are looked for among."""


def needed_features(
    source_of_sample: Integer[np.ndarray, " n"],
    num_sources: int,
    num_domains: int | Literal["auto", "sources"],
    within: Literal["source", "all"],
    seed: int,
) -> Bool[np.ndarray, " n"] | None:
    """Which samples' features will be looked at.

    Args:
        source_of_sample: Source number of each sample.
        num_sources: How many sources there are.
        num_domains: As the clustering will be told.
        within: As the clustering will be told.
        seed: Of the choice inside undivided sources.

    Returns:
        True where a feature is needed; None where all are.

    Example:
        >>> sources = np.repeat([0, 1], [1000, 3000])
        >>> needed = needed_features(sources, 2, 3, "source", seed=0)
        >>> int(needed[:1000].sum()), int(needed[1000:].sum())
        (256, 3000)
    """
    if within == "all" or not isinstance(num_domains, int):
        return None
    sizes = np.bincount(source_of_sample, minlength=num_sources)
    if num_domains < num_sources or num_domains > len(source_of_sample):
        return None  # the clustering says what is wrong with that
    generator = np.random.Generator(np.random.Philox(key=[seed, num_sources]))
    is_needed_n = np.zeros(len(source_of_sample), dtype=bool)
    for source, count in enumerate(shared_counts(sizes, num_domains)):
        samples = np.flatnonzero(source_of_sample == source)
        if count == 1 and len(samples) > SHOWN_FROM:
            samples = generator.choice(samples, SHOWN_FROM, replace=False)
        is_needed_n[samples] = True
    return is_needed_n
