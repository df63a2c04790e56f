"""Which samples get a gradient feature at all: features are what clustering costs.

A source that is to stay one domain needs no features to be assigned, only enough of them to show
its most central samples. Of the others a share is enough, where the config says so: the rest is
placed by its text.

Axes: s sources, g groups that are clustered on their own, n samples of one.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Integer

from dids.domains.cluster_counts import shared_counts
from dids.domains.feature_source import FeatureSource
from dids.domains.stratified_draw import stratified_draw

SHOWN_FROM = 256
"""Samples of an undivided source that its most central ones are looked for among."""
MIN_A_DOMAIN = 64
"""Features for each domain that a group is to be divided into, however small the share."""


def needed_shares(
    size_s: Sequence[int],
    num_domains: int | Literal["auto", "sources"],
    within: Literal["source", "all"],
    share: float,
) -> list[float]:
    """Fraction of each group's samples that features are computed of.

    Args:
        size_s: Samples of each source.
        num_domains: As the clustering will be told.
        within: As the clustering will be told.
        share: What the config asks for.

    Returns:
        One fraction for each source, or a single one where all samples are clustered together.

    Example:
        >>> needed_shares([1024, 3000], 3, "source", 1.0)
        [0.25, 1.0]
        >>> needed_shares([1000, 3000], 8, "all", 0.1)
        [0.128]
    """
    if num_domains == "sources":
        return [0.0] * len(size_s if within == "source" else [1])
    size_g = list(size_s) if within == "source" else [sum(size_s)]
    if num_domains == "auto":
        return [_share(size, share, SHOWN_FROM) for size in size_g]
    if not sum(size > 0 for size in size_g) <= num_domains <= sum(size_g):
        return [1.0 for _ in size_g]  # the clustering says what is wrong with that
    shares = []
    count_g = shared_counts(np.array(size_g), num_domains).tolist()
    for size, count in zip(size_g, count_g, strict=True):
        if within == "source" and count <= 1:
            shares.append(_share(size, 0.0, SHOWN_FROM))
        else:
            shares.append(_share(size, share, MIN_A_DOMAIN * count))
    return shares


def _share(size: int, share: float, least: int) -> float:
    return min(1.0, max(share, least / max(size, 1)))


def needed_features(
    source_of_sample: Integer[np.ndarray, " n"],
    num_sources: int,
    num_domains: int | Literal["auto", "sources"],
    within: Literal["source", "all"],
    seed: int,
    *,
    share: float = 1.0,
    vectors: FeatureSource | None = None,
) -> Integer[np.ndarray, " m"] | None:
    """Which samples' features are computed.

    Args:
        source_of_sample: Source number of each sample.
        num_sources: How many sources there are.
        num_domains: As the clustering will be told.
        within: As the clustering will be told.
        seed: Of the choice.
        share: Fraction of the samples of each group that is divided.
        vectors: Cheap vectors of all samples, so that a share misses no kind of text. None: a plain
            draw.

    Returns:
        Sample numbers, ascending; None where all samples are needed.

    Example:
        >>> sources = np.repeat([0, 1], [1000, 3000])
        >>> needed = needed_features(sources, 2, 3, "source", seed=0)
        >>> int((needed < 1000).sum()), int((needed >= 1000).sum())
        (256, 3000)
    """
    size_s = np.bincount(source_of_sample, minlength=num_sources)
    shares = needed_shares(size_s.tolist(), num_domains, within, share)
    if min(shares) >= 1.0:
        return None
    generator = np.random.Generator(np.random.Philox(key=[seed, num_sources]))
    needed = []
    for group, group_share in enumerate(shares):
        samples_n = np.arange(len(source_of_sample))
        if within == "source":
            samples_n = np.flatnonzero(source_of_sample == group)
        if group_share < 1.0 and (vectors is None or group_share < share):
            count = math.ceil(group_share * len(samples_n))
            samples_n = generator.choice(samples_n, count, replace=False)
        elif group_share < 1.0 and vectors is not None:
            samples_n = stratified_draw(vectors, samples_n, group_share, seed)
        needed.append(samples_n)
    return np.sort(np.concatenate(needed))
