"""What a config comes to in numbers, by arithmetic alone: steps, epochs, features, gradients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dids.config import Config
from dids.config.batch import batch_size
from dids.domains.needed_features import needed_shares
from dids.impact.measuring_budget import MeasuringBudget
from dids.run.measuring import in_a_round, on_the_proxy
from dids.sampling.forecast import DomainForecast, forecast
from dids.sampling.token_unit import sample_shares
from dids.training.train import expected_steps

_BYTES = {"float16": 2, "float32": 4}
GUESSED_DOMAINS = 4
"""Of a source, where features choose their number."""


@dataclass(frozen=True)
class SourceCounts:
    """What one source holds and how far a uniform mixture over the sources would draw it."""

    name: str
    num_samples: int
    num_tokens: int
    drawn: DomainForecast


@dataclass(frozen=True)
class RunCounts:
    """What a run comes to.

    Attributes:
        num_domains: As many as are asked for; where features choose, a guess (`GUESSED_DOMAINS`).
        measuring: Samples of one measurement of impact where no overhead is given.
        on_proxy: Of the one before training.
        gradient_samples: Of one measurement in training.
    """

    sources: tuple[SourceCounts, ...]
    num_steps: int
    budget_tokens: int
    batch_size: int
    num_runs: int
    warmup_steps: int
    num_features: int
    feature_bytes: int
    num_domains: int
    measuring: MeasuringBudget
    on_proxy: MeasuringBudget
    gradient_samples: int


def run_counts(
    config: Config, sizes: Sequence[tuple[int, int]], num_processes: int = 1
) -> RunCounts:
    """What the budget makes of so many samples and tokens.

    Args:
        config: As resolved.
        sizes: Samples and tokens of each source.
        num_processes: That train together.

    Raises:
        InputError: If the config asks for what these sizes do not allow.
    """
    step_samples = batch_size(config, num_processes)
    mean_lengths = np.array([tokens / max(1, samples) for samples, tokens in sizes])
    uniform = np.full(len(sizes), 1.0 / len(sizes))
    unit = config.mixture.unit
    share_s = uniform if unit == "samples" else sample_shares(uniform, mean_lengths)
    num_steps = expected_steps(config.budget.tokens, step_samples, mean_lengths, share_s)
    forecasts = forecast(
        [samples for samples, _ in sizes],
        [source.max_repeats for source in config.data.sources.values()],
        uniform,
        step_samples,
        num_steps,
        unit=unit,
        mean_lengths=mean_lengths,
        at_end=[source.at_end for source in config.data.sources.values()],
    )
    num_features = _num_features(config, [samples for samples, _ in sizes])
    num_domains = _num_domains(config)
    num_measured = 0 if config.impact.domain_gradients == "training" else num_domains
    run_samples = num_steps * step_samples
    measuring = in_a_round(config, num_domains, len(config.tasks), run_samples)
    return RunCounts(
        sources=tuple(
            SourceCounts(name, samples, tokens, drawn)
            for name, (samples, tokens), drawn in zip(
                config.data.sources, sizes, forecasts, strict=True
            )
        ),
        num_steps=num_steps,
        budget_tokens=config.budget.tokens,
        batch_size=step_samples,
        num_runs=1 if config.control is None else 2,
        warmup_steps=config.warmup_steps,
        num_features=num_features,
        feature_bytes=num_features * config.features.dim * _BYTES[config.features.dtype],
        num_domains=num_domains,
        measuring=measuring,
        on_proxy=on_the_proxy(config, num_domains, len(config.tasks), run_samples),
        gradient_samples=num_measured * measuring.domain_samples
        + len(config.tasks) * measuring.task_samples,
    )


def _num_features(config: Config, size_s: list[int]) -> int:
    """Samples that features are computed of; a share is rounded up in every cluster of text."""
    groups = size_s if config.domains.within == "source" else [sum(size_s)]
    shares = needed_shares(
        size_s, config.domains.number, config.domains.within, config.features.share
    )
    if config.domains.number == "sources":
        return 0
    return sum(math.ceil(share * size) for share, size in zip(shares, groups, strict=True))


def _num_domains(config: Config) -> int:
    number, num_sources = config.domains.number, len(config.data.sources)
    if number == "sources":
        return num_sources
    return GUESSED_DOMAINS * num_sources if number == "auto" else number
