"""The plan before the bill: what a config would take, without writing anything."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedTokenizerBase

from dids.check.token_estimate import NUM_DRAWN, TokenEstimate
from dids.config import Config
from dids.data.readers import read_records
from dids.data.sources import SourceFiles
from dids.data.tokenizer import load_tokenizer, train_tokenizer
from dids.domains.needed_features import needed_shares
from dids.impact.measuring_budget import MeasuringBudget
from dids.mixture.policy import make_policy
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.workspace import Workspace
from dids.sampling.forecast import DomainForecast, forecast
from dids.sampling.token_unit import sample_shares
from dids.training.train import expected_steps

_TRAINED_ON = 200  # records a source, for a tokenizer like the run's
_BYTES = {"float16": 2, "float32": 4}


@dataclass(frozen=True)
class SourcePlan:
    """What one source holds and how far a uniform mixture over the sources would draw it."""

    name: str
    num_samples: int
    num_tokens: int
    drawn: DomainForecast


@dataclass(frozen=True)
class RunPlan:
    """What a run would take.

    Attributes:
        is_exact: True where the data is tokenised already; else lengths are estimated.
    """

    sources: tuple[SourcePlan, ...]
    num_steps: int
    budget_tokens: int
    batch_size: int
    num_runs: int
    warmup_steps: int
    num_features: int
    feature_bytes: int
    gradient_samples: int
    is_exact: bool


def run_plan(config: Config, sizes: list[tuple[int, int]] | None = None) -> RunPlan:
    """Count samples and tokens, and what the budget makes of them.

    Args:
        config: As resolved.
        sizes: Samples and tokens of each source, where they are estimated already.

    Returns:
        The plan, exact where the data is tokenised.

    Raises:
        InputError: For any mistake in the config, its files or its policy.
    """
    make_policy(config.mixture.policy, **config.mixture.settings)
    folder = RunFolder(Path(config.run))
    is_exact = folder.is_done("tokens")
    if is_exact:
        stores = Workspace(config, folder, ConsoleProgress()).source_stores
        sizes = [(store.num_samples, store.num_tokens) for store in stores]
    elif sizes is None:
        sizes = _estimated_sizes(config)
    arguments = config.training
    batch_size = int(arguments.get("per_device_train_batch_size", 8)) * int(
        arguments.get("gradient_accumulation_steps", 1)
    )
    mean_lengths = np.array([tokens / max(1, samples) for samples, tokens in sizes])
    uniform = np.full(len(sizes), 1.0 / len(sizes))
    unit = config.mixture.unit
    share_s = uniform if unit == "samples" else sample_shares(uniform, mean_lengths)
    num_steps = expected_steps(config.budget.tokens, batch_size, mean_lengths, share_s)
    forecasts = forecast(
        [samples for samples, _ in sizes],
        [source.max_repeats for source in config.data.sources.values()],
        uniform,
        batch_size,
        num_steps,
        unit=unit,
        mean_lengths=mean_lengths,
        at_end=[source.at_end for source in config.data.sources.values()],
    )
    num_features = _num_features(config, [samples for samples, _ in sizes])
    number = config.domains.number
    num_domains = number if isinstance(number, int) else len(sizes)
    round_samples = num_steps * batch_size / config.mixture.rounds
    num_measured = 0 if config.impact.domain_gradients == "training" else num_domains
    measuring = MeasuringBudget.within(
        domain_samples=config.impact.domain_samples,
        task_samples=config.impact.task_samples,
        validation_samples=config.impact.validation_samples,
        num_domains=num_measured,
        num_tasks=len(config.tasks),
        round_samples=round(round_samples),
        max_share=config.impact.max_share,
    )
    return RunPlan(
        sources=tuple(
            SourcePlan(name, samples, tokens, drawn)
            for name, (samples, tokens), drawn in zip(
                config.data.sources, sizes, forecasts, strict=True
            )
        ),
        num_steps=num_steps,
        budget_tokens=config.budget.tokens,
        batch_size=batch_size,
        num_runs=1 if config.control is None else 2,
        warmup_steps=config.warmup_steps,
        num_features=num_features,
        feature_bytes=num_features * config.features.dim * _BYTES[config.features.dtype],
        gradient_samples=num_measured * measuring.domain_samples
        + len(config.tasks) * measuring.task_samples,
        is_exact=is_exact,
    )


def print_plan(config: Config, console: Console | None = None) -> None:
    """Print the plan of a config."""
    console = console or Console()
    plan = run_plan(config)
    table = Table("source", box=None)
    for title in ("samples", "tokens", "epochs if uniform", "repeats used up"):
        table.add_column(title, justify="right")
    for source in plan.sources:
        cap = source.drawn.cap_reached_at_step
        table.add_row(
            source.name,
            f"{source.num_samples:,}",
            f"{source.num_tokens:,}",
            f"{source.drawn.epochs:.2f}",
            "" if cap is None else f"at step {cap:,}",
        )
    console.print(table)
    how = "counted" if plan.is_exact else f"estimated from {NUM_DRAWN} records a source"
    lines = [
        *(
            source.drawn.sentence(source.name)
            for source in plan.sources
            if source.drawn.cap_reached_at_step is not None
        ),
        f"samples and tokens: {how}",
        f"steps: {plan.num_steps:,} of {plan.batch_size} samples "
        f"({plan.budget_tokens:,} tokens), {plan.num_runs} run(s)",
        f"proxy warm-up: {plan.warmup_steps:,} steps",
        f"gradient samples for impact: {plan.gradient_samples:,} a round"
        if config.impact.overhead is None
        else f"measuring impact: at most {config.impact.overhead:.1%} of the training",
        f"gradient features: {plan.num_features:,} of "
        f"{sum(source.num_samples for source in plan.sources):,} samples",
        f"features on disk: {plan.feature_bytes:,} bytes",
        f"run folder: {config.run}",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _num_features(config: Config, size_s: list[int]) -> int:
    """Samples that features are computed of; a share is rounded up in every cluster of text."""
    groups = size_s if config.domains.within == "source" else [sum(size_s)]
    shares = needed_shares(
        size_s, config.domains.number, config.domains.within, config.features.share
    )
    if config.domains.number == "sources":
        return 0
    return sum(math.ceil(share * size) for share, size in zip(shares, groups, strict=True))


def _estimated_sizes(config: Config) -> list[tuple[int, int]]:
    sources = [
        SourceFiles(name=name, paths=source.path, format=source.format)
        for name, source in config.data.sources.items()
    ]
    tokenizer = plan_tokenizer(config, sources)
    return [_estimated_size(config, source, tokenizer) for source in sources]


def _estimated_size(
    config: Config, source: SourceFiles, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, int]:
    estimate = TokenEstimate(config.seed)
    for record in read_records(source, on_bad_record=config.data.on_bad_record):
        estimate.look(record)
    data = config.data
    size = estimate.size(
        tokenizer, sequence_length=data.sequence_length, prompt_format=data.prompt_format
    )
    return size.samples, size.tokens


def plan_tokenizer(config: Config, sources: list[SourceFiles]) -> PreTrainedTokenizerBase:
    """The tokenizer that the config names, or one trained like the run's on a few records."""
    if config.tokenizer.name is not None:
        return load_tokenizer(config.tokenizer.name, trust_remote_code=config.trust_remote_code)
    assert config.tokenizer.train is not None

    def texts() -> Iterator[str]:
        for source in sources:
            records = read_records(source, on_bad_record="skip")
            for record in itertools.islice(records, _TRAINED_ON):
                yield from record.texts

    return train_tokenizer(texts(), config.tokenizer.train.vocab_size)
