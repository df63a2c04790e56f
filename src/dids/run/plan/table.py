"""The plan as people read it: what the sources come to, then what every stage takes."""

from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from dids.check.token_estimate import NUM_DRAWN
from dids.config import Config
from dids.run.measuring import least_measurements
from dids.run.plan.estimate import Known, StageEstimate, Totals
from dids.run.plan.run_plan import RunPlan

_LONGER = (
    (3600.0, (60, "min", 1, "s")),
    (86_400.0, (3600, "h", 60, "min")),
    (float("inf"), (86_400, "d", 3600, "h")),
)
_LEGEND = "~ extrapolated from the calibration; all else was measured, by it or in the run folder"
_PROCESSES = (
    "processes: {}; times are those of the busiest, memory is each one's, and what they send each "
    "other is in neither"
)
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def print_plan(config: Config, plan: RunPlan, console: Console | None = None) -> None:
    """Print a plan."""
    console = console or Console(markup=False)
    console.print(_sources(plan))
    for line in _lines(config, plan):
        console.print(line, highlight=False, soft_wrap=True)
    if plan.stages:
        console.print()
        console.print(_stages(plan))
        console.print(_LEGEND, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds in words.

    Example:
        >>> [duration(s) for s in (0.04, 7.31, 95, 8000, 200_000)]
        ['0.0 s', '7.3 s', '1 min 35 s', '2 h 13 min', '2 d 7 h']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    unit, name, part, part_name = next(words for below, words in _LONGER if seconds < below)
    whole = int(seconds // unit)
    return f"{whole:,} {name} {int((seconds - whole * unit) // part)} {part_name}"


def size(num_bytes: float) -> str:
    """Bytes in words.

    Example:
        >>> [size(b) for b in (0, 12_300, 1_500_000, 2e9)]
        ['0', '12.3 kB', '1.5 MB', '2.0 GB']
    """
    for unit, name in _UNITS:
        if num_bytes >= unit:
            return f"{num_bytes / unit:,.1f} {name}"
    return f"{num_bytes:.0f}"


def _sources(plan: RunPlan) -> Table:
    table = Table("source", box=None)
    for title in ("samples", "tokens", "epochs if uniform", "repeats used up"):
        table.add_column(title, justify="right")
    for source in plan.counts.sources:
        cap = source.drawn.cap_reached_at_step
        table.add_row(
            source.name,
            f"{source.num_samples:,}",
            f"{source.num_tokens:,}",
            f"{source.drawn.epochs:.2f}",
            "" if cap is None else f"at step {cap:,}",
        )
    return table


def _lines(config: Config, plan: RunPlan) -> list[str]:
    counts = plan.counts
    how = "counted" if plan.is_exact else f"estimated from {NUM_DRAWN} records a source"
    parts = [f"{name} ({share:.2%})" for name, share in plan.parts.items()]
    return [
        *(
            source.drawn.sentence(source.name)
            for source in counts.sources
            if source.drawn.cap_reached_at_step is not None
        ),
        f"samples and tokens: {how}",
        *([f"read in part, the rest by bytes: {', '.join(parts)}"] if parts else []),
        f"steps: {counts.num_steps:,} of {counts.batch_size} samples "
        f"({counts.budget_tokens:,} tokens), {counts.num_runs} run(s)",
        f"proxy warm-up: {counts.warmup_steps:,} steps",
        f"gradient samples for impact: {counts.gradient_samples:,} a round"
        if config.impact.overhead is None
        else _measuring(config, config.impact.overhead),
        f"gradient features: {counts.num_features:,} of "
        f"{sum(source.num_samples for source in counts.sources):,} samples",
        f"features on disk: {counts.feature_bytes:,} bytes",
        *([] if plan.num_processes == 1 else [_PROCESSES.format(plan.num_processes)]),
        f"run folder: {config.run}",
    ]


def _measuring(config: Config, overhead: float) -> str:
    text = f"measuring impact: at most {overhead:.1%} of the training"
    least = least_measurements(config)
    return f"{text}, but {least} measurements in a run too short for them" if least else text


def _stages(plan: RunPlan) -> Table:
    has_device = any(stage.device_bytes.value for stage in plan.stages)
    table = Table("stage", box=None)
    columns = ["time", "memory", *(["on the GPU"] if has_device else []), "disk"]
    for title in columns:
        table.add_column(title, justify="right")
    table.add_column("how the time is known")
    for stage in plan.stages:
        if stage.stage in plan.done_s:
            blank = [""] * (len(columns) - 1)
            table.add_row(stage.stage, duration(plan.done_s[stage.stage]), *blank, "done already")
        else:
            table.add_row(stage.stage, *_cells(stage, has_device), stage.how)
    left = [stage for stage in plan.stages if stage.stage not in plan.done_s]
    if left:
        table.add_section()
        table.add_row("in all", *_cells(Totals.of(left), has_device), "memory: the highest peak")
    return table


def _cells(numbers: StageEstimate | Totals, has_device: bool) -> list[str]:
    device = [_marked(numbers.device_bytes, size)] if has_device else []
    return [
        _marked(numbers.time_s, duration),
        _marked(numbers.memory_bytes, size),
        *device,
        _marked(numbers.disk_bytes, size),
    ]


def _marked(known: Known, worded: Callable[[float], str]) -> str:
    return ("" if known.is_measured else "~") + worded(known.value)
