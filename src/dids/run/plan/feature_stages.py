"""Features and domains: features of some samples, clusters of made-up features."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dids.domains.feature_map import feature_map
from dids.domains.needed_features import needed_shares
from dids.domains.stability import MAX_COMPARED
from dids.gradients.compute_features import features_of
from dids.gradients.feature_store import SHARD_SAMPLES
from dids.run.plan.calibration import Calibration, folder_bytes
from dids.run.plan.estimate import Known, StageEstimate
from dids.run.plan.made_up_domains import (
    Clustering,
    ClusteringPrice,
    clustering_price,
    dealt_domains,
)
from dids.run.plan.processes import busiest_share
from dids.run.plan.text_price import TextPrice, text_price
from dids.run.projection import projection_of
from dids.run.stages.domains import MAP_NAME

FEATURES_S = 4.0
"""Seconds of features, about."""
_FIRST_SAMPLES = 32
_BYTES_A_SAMPLE = 4
"""Of the number of a sample's domain, on disk."""


def features_and_domains(here: Calibration, folder: Path) -> Iterator[StageEstimate | None]:
    """Both stages; None where sources are kept as domains and so have no features.

    Args:
        here: The calibration.
        folder: For features that are made up.
    """
    if here.config.domains.number == "sources":
        here.rehearsed("features", lambda: {"computed": False})
        yield None
        yield _kept_sources(here)
        return
    features, text = _features(here)
    yield features
    yield _domains(here, text, folder)


def _features(here: Calibration) -> tuple[StageEstimate, TextPrice | None]:
    """By tokens of samples drawn as the run will."""
    assert here.counts is not None
    dataset, settings = here.work.dataset, here.config.features
    order = _drawn(here)
    model, lengths_n = here.work.saved_model("proxy"), dataset.lengths
    rates: list[float] = []
    num_done, price, fit_s = 0, None, 0.0

    def compute() -> None:
        nonlocal num_done, price, fit_s
        began_s = here.clock.now()
        projection = projection_of(here.work)
        fit_s = here.clock.now() - began_s
        if settings.share < 1.0:
            price = text_price(dataset, here.num_samples, settings.dim, here.clock.now)
        size, spent_s = _FIRST_SAMPLES, 0.0
        while spent_s < FEATURES_S and num_done < len(order):
            chosen = order[num_done : num_done + size]
            began_s = here.clock.now()
            features_of(
                model,
                dataset,
                here.work.collate,
                projection,
                chosen,
                batch_tokens=settings.batch_tokens,
                device=here.work.device,
                layers=settings.layers,
            )
            lap_s = here.clock.now() - began_s
            spent_s += lap_s
            rates.append(lap_s / max(1, int(lengths_n[chosen].sum())))
            num_done += len(chosen)
            # The next ones fill the rest of the time, in one piece: batches of like length.
            size = max(size, math.floor(size * (FEATURES_S - spent_s) / max(lap_s, 1e-6)))

    took = here.rehearsed("features", compute)
    num_shards = math.ceil(here.counts.num_features / SHARD_SAMPLES)
    num_tokens = _tokens_with_feature(here) * busiest_share(num_shards, here.num_processes)
    text_s = 0.0 if price is None else price.drawing_s(_drawn_by_text(here))
    return here.estimate(
        "features",
        took,
        Known(fit_s + rates[-1] * num_tokens + text_s, is_measured=False),
        Known(here.counts.feature_bytes, is_measured=True),
        f"computed {num_done:,} of {here.counts.num_features:,} features",
    ), price


def _kept_sources(here: Calibration) -> StageEstimate:
    took = here.rehearsed("domains", lambda: _deal(here))
    return here.estimate(
        "domains", took, Known(took.time_s, True), _on_disk(here), "sources are kept"
    )


def _domains(here: Calibration, text: TextPrice | None, folder: Path) -> StageEstimate:
    """By sizes; the small run goes on with domains that are dealt out."""
    assert here.counts is not None
    number = here.counts.num_domains
    whole = _clustering(here, number)
    price: ClusteringPrice | None = None

    def group() -> dict[str, int]:
        nonlocal price
        price = clustering_price(here.config, whole, folder, here.clock.now)
        return _deal(here)

    took = here.rehearsed("domains", group)
    assert price is not None
    _draw_map(here)
    text_s = 0.0
    if text is not None:
        # Where a group stays whole, nothing is asked of its text.
        divided = [
            size for size, count in zip(whole.group_sizes, whole.counts, strict=True) if count > 1
        ]
        times = 1 + min(1.0, MAX_COMPARED / max(1, here.num_samples))
        known, others = sum(divided), sum(divided) * (1 / here.config.features.share - 1)
        text_s = text.placing_s(2 * len(divided), times * known, times * others)
    is_given = isinstance(here.config.domains.number, int)
    is_whole = is_given and text is None and price.num_samples >= whole.num_samples
    return here.estimate(
        "domains",
        took,
        Known(price.time_s(whole) + text_s, is_whole),
        _on_disk(here),
        f"clustered {price.num_samples:,} made-up features, for {whole.num_samples:,}, into "
        f"{number:,}{'' if is_given else ', a guess'}",
    )


def _deal(here: Calibration) -> dict[str, int]:
    """Let the small run go on with as many domains as the whole one has."""
    assert here.counts is not None
    source_n = here.work.dataset.source_of_sample
    dealt = dealt_domains(source_n, list(here.work.sources), here.counts.num_domains)
    dealt.save(here.work.path("domains"))
    return {"num_domains": len(dealt)}


def _on_disk(here: Calibration) -> Known:
    """What the small run's domains take, with all samples and, where there are some, centres."""
    assert here.counts is not None
    more = here.num_samples - len(here.work.dataset)
    has_centres = here.config.domains.number != "sources"
    centres = 4 * here.config.features.dim * here.counts.num_domains if has_centres else 0
    small = folder_bytes(here.work.path("domains"))
    return Known(small + _BYTES_A_SAMPLE * more + centres, is_measured=False)


def _drawn_by_text(here: Calibration) -> list[int]:
    """Samples of every group of which a share gets a feature, drawn by text."""
    assert here.counts is not None
    config, sizes = here.config, [source.num_samples for source in here.counts.sources]
    if config.domains.within == "all":
        sizes = [sum(sizes)]
    least = config.features.share  # where less is needed, it is drawn plainly
    return [size for size, share in zip(sizes, _needed(here), strict=True) if least <= share < 1.0]


def _clustering(here: Calibration, number: int) -> Clustering:
    """The sizes of the run's clustering: of all samples, or of those that get a feature."""
    assert here.counts is not None
    sizes = [source.num_samples for source in here.counts.sources]
    if here.config.domains.number == "auto":
        number = min(number, sum(sizes))
    whole = Clustering.of(here.config.domains.within, sizes, number)
    return whole.scaled(here.config.features.share)


def _draw_map(here: Calibration) -> None:
    """A map of made-up places, for the report."""
    work = here.work
    generator = np.random.default_rng(here.config.seed)
    made_up = generator.standard_normal((len(work.dataset), 32), dtype=np.float32)
    found = feature_map(made_up, work.domains.domain_of_sample, here.config.seed)
    if found is not None:
        found.save(work.path("domains") / MAP_NAME)


def _drawn(here: Calibration) -> np.ndarray:
    """Samples of the slices in a random order, of every source as its part of the features is."""
    source_n = here.work.dataset.source_of_sample
    needed_s = np.array(_feature_counts(here), dtype=np.float64)
    have_s = np.maximum(1, np.bincount(source_n, minlength=len(needed_s)))
    generator = np.random.default_rng(here.config.seed)
    weight_n = (needed_s / have_s)[source_n]
    # A race of exponential clocks: earlier the more often it is needed.
    return np.argsort(generator.exponential(size=len(source_n)) / np.maximum(weight_n, 1e-9))


def _needed(here: Calibration) -> list[float]:
    """Of the samples of each group that is clustered on its own, how many get a feature."""
    assert here.counts is not None
    config, sizes = here.config, [source.num_samples for source in here.counts.sources]
    return needed_shares(sizes, config.domains.number, config.domains.within, config.features.share)


def _shares(here: Calibration) -> list[float]:
    """Of the samples of each source, how many get a feature."""
    assert here.counts is not None
    shares, num_sources = _needed(here), len(here.counts.sources)
    return shares if len(shares) == num_sources else shares * num_sources


def _feature_counts(here: Calibration) -> list[int]:
    assert here.counts is not None
    return [
        math.ceil(share * source.num_samples)
        for share, source in zip(_shares(here), here.counts.sources, strict=True)
    ]


def _tokens_with_feature(here: Calibration) -> float:
    assert here.counts is not None
    return sum(
        share * source.num_tokens
        for share, source in zip(_shares(here), here.counts.sources, strict=True)
    )
