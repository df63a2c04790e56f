"""Features and domains: features of some samples, clusters of made-up features."""

import math
from pathlib import Path

import numpy as np

from dids.domains.feature_map import feature_map
from dids.domains.needed_features import needed_shares
from dids.domains.ngram_vectors import NgramVectors
from dids.domains.stability import MAX_COMPARED
from dids.gradients.compute_features import features_of
from dids.run.features import projection_of
from dids.run.plan.calibration import Calibration
from dids.run.plan.estimate import Known, StageEstimate
from dids.run.plan.made_up_domains import (
    Clustering,
    ClusteringPrice,
    clustering_price,
    dealt_domains,
)
from dids.run.stages.domains import MAP_NAME

FEATURES_S = 5.0
"""Seconds of features, about."""
_FIRST_SAMPLES = 32
_VECTORS = 512
"""Samples whose text vectors are timed."""
_BYTES_A_SAMPLE = 4
"""Of the number of a sample's domain, on disk."""


def features(here: Calibration) -> StageEstimate | None:
    """By tokens of samples drawn as the run will; None where sources are kept as domains."""
    assert here.counts is not None
    if here.config.domains.number == "sources":
        here.rehearsed("features", lambda: {"computed": False})
        return None
    dataset, settings = here.work.dataset, here.config.features
    order = _drawn(here)
    model, lengths_n = here.work.saved_model("proxy"), dataset.lengths
    rates: list[float] = []
    num_done = 0

    def compute() -> None:
        nonlocal num_done
        size, spent_s = _FIRST_SAMPLES, 0.0
        while spent_s < FEATURES_S and num_done < len(order):
            chosen = order[num_done : num_done + size]
            began_s = here.clock.now()
            features_of(
                model,
                dataset,
                here.work.collate,
                projection_of(here.work),
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
    num_tokens = _tokens_with_feature(here)
    text_s = _vector_s(here) * here.num_samples if settings.share < 1.0 else 0.0
    return here.estimate(
        "features",
        took,
        Known(rates[-1] * num_tokens + text_s, is_measured=False),
        Known(here.counts.feature_bytes, is_measured=True),
        f"computed {num_done:,} of {here.counts.num_features:,} features",
    )


def domains(here: Calibration, folder: Path) -> StageEstimate:
    """By sizes; the small run goes on with domains that are dealt out."""
    assert here.counts is not None
    work, number = here.work, here.counts.num_domains
    source_n = work.dataset.source_of_sample
    dealt = dealt_domains(source_n, list(work.sources), number)
    has_features = here.config.domains.number != "sources"
    price: ClusteringPrice | None = None
    whole = _clustering(here, number) if has_features else None

    def group() -> dict[str, int]:
        nonlocal price
        if whole is not None:
            price = clustering_price(here.config, whole, folder, here.clock.now)
        dealt.save(work.path("domains"))
        return {"num_domains": len(dealt)}

    took = here.rehearsed("domains", group)
    on_disk = _BYTES_A_SAMPLE * here.num_samples + 4 * here.config.features.dim * number
    if price is None or whole is None:
        return here.estimate(
            "domains", took, Known(took.time_s, True), Known(on_disk, False), "sources are kept"
        )
    _draw_map(here, folder)
    text_s = 0.0
    if here.config.features.share < 1.0:
        text_s = _vector_s(here) * (here.num_samples + min(here.num_samples, MAX_COMPARED))
    is_whole = price.num_samples >= whole.num_samples and isinstance(
        here.config.domains.number, int
    )
    guessed = "" if isinstance(here.config.domains.number, int) else ", a guess"
    return here.estimate(
        "domains",
        took,
        Known(price.time_s(whole) + text_s, is_whole and text_s == 0.0),
        Known(on_disk, is_measured=False),
        f"clustered {price.num_samples:,} made-up features, for {whole.num_samples:,}, into "
        f"{number:,}{guessed}",
    )


def _clustering(here: Calibration, number: int) -> Clustering:
    """The sizes of the run's clustering: of all samples, or of those that get a feature."""
    assert here.counts is not None
    sizes = [source.num_samples for source in here.counts.sources]
    if here.config.domains.number == "auto":
        number = min(number, sum(sizes))
    whole = Clustering.of(here.config.domains.within, sizes, number)
    return whole.scaled(here.config.features.share)


def _draw_map(here: Calibration, folder: Path) -> None:
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


def _shares(here: Calibration) -> list[float]:
    """Of the samples of each source, how many get a feature."""
    assert here.counts is not None
    config, sizes = here.config, [source.num_samples for source in here.counts.sources]
    shares = needed_shares(
        sizes, config.domains.number, config.domains.within, config.features.share
    )
    return shares if len(shares) == len(sizes) else shares * len(sizes)


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


def _vector_s(here: Calibration) -> float:
    """Seconds that a sample's text vector takes."""
    sample_m = np.arange(min(_VECTORS, len(here.work.dataset)))
    began_s = here.clock.now()
    NgramVectors(here.work.dataset)[sample_m]
    return (here.clock.now() - began_s) / len(sample_m)
