"""Several runs side by side: what keeps them from being compared, what differs, what came out.

The first run is the one that the others are compared with.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dids.errors import InputError
from dids.report.numbers import count_text
from dids.report.record import RunRecord, TaskResult
from dids.report.task_mean import shares, task_mean

_SAME_BUDGET = 0.01
"""Runs end with the step that reaches their budget, so token counts differ a little."""


@dataclass(frozen=True)
class NamedRun:
    """A run and what the page calls it."""

    name: str
    record: RunRecord


@dataclass(frozen=True)
class TaskCell:
    """One run on one task."""

    result: TaskResult | None
    change: float | None
    # of the test loss against the first run's, as a fraction; None for the first, or where it
    # cannot be compared
    is_clear: bool
    # whether the change is above two standard errors
    is_best: bool


@dataclass(frozen=True)
class TaskRow:
    """All runs on one task."""

    task: str
    cells: tuple[TaskCell, ...]
    is_comparable: bool
    # whether all runs were tested on it, on the same items

    @property
    def has_loss(self) -> bool:
        """Whether a run has a test loss."""
        return any(_loss(cell.result) is not None for cell in self.cells)

    @property
    def has_accuracy(self) -> bool:
        """Whether a run has answered its multiple choice."""
        return any(cell.result is not None and cell.result.accuracy is not None
                   for cell in self.cells)  # fmt: skip


@dataclass(frozen=True)
class FieldDifference:
    """A field of the config that is not the same in all runs."""

    field: str
    values: tuple[str, ...]


def named_runs(runs: Sequence[tuple[str, RunRecord]]) -> list[NamedRun]:
    """Runs by the last part of their folders, or all of it where two would be called the same.

    Args:
        runs: Pairs of folder and record.

    Raises:
        InputError: If there are fewer than two, or one is there twice.
    """
    folders = [folder for folder, _ in runs]
    if len(set(folders)) < max(2, len(folders)):
        raise InputError(
            f"a comparison needs two different runs or more, but was given {', '.join(folders)}."
        )
    last = [folder.rstrip("/").rpartition("/")[2] for folder in folders]
    are_unique = len(set(last)) == len(last)
    return [
        NamedRun(short if are_unique else folder, record)
        for short, (folder, record) in zip(last, runs, strict=True)
    ]


def check_comparable(runs: Sequence[NamedRun]) -> None:
    """Refuse runs whose losses say nothing about each other.

    Raises:
        InputError: If no task was tested in all of them, or their tokenizers differ.
    """
    hashes = {run.name: run.record.tokenizer_hash for run in runs if run.record.tokenizer_hash}
    if len(set(hashes.values())) > 1:
        raise InputError(
            f"{' and '.join(hashes)} have different tokenizers, so their losses per token cannot "
            "be compared; compare runs with one tokenizer."
        )
    if not any(row.is_comparable for row in task_rows(runs)):
        tested = "; ".join(f"{run.name}: {', '.join(run.record.tasks) or 'none'}" for run in runs)
        raise InputError(
            f"these runs have no task in common that was tested on the same items ({tested}); "
            "compare runs with the same tasks."
        )


def cautions(runs: Sequence[NamedRun]) -> list[str]:
    """What else the runs do not have in common, and what that means for their differences.

    Args:
        runs: The runs.

    Returns:
        One sentence each.
    """
    records = [run.record for run in runs]
    sentences = []
    apart = [row.task for row in task_rows(runs) if row.has_loss and not row.is_comparable]
    if apart:
        sentences.append(
            f"Not tested in all runs, or on other items: {', '.join(apart)}. The means leave "
            f"{'it' if len(apart) == 1 else 'them'} out."
        )
    tokens = [record.tokens for record in records]
    if max(tokens) > (1.0 + _SAME_BUDGET) * min(tokens):
        listed = ", ".join(f"{run.name} {count_text(run.record.tokens)}" for run in runs)
        sentences.append(f"Budgets differ ({listed} tokens): more tokens alone lower a loss.")
    if len({record.seed for record in records}) > 1:
        listed = ", ".join(f"{run.name} {run.record.seed}" for run in runs)
        sentences.append(
            f"Seeds differ ({listed}): a difference holds the chance of the seeds, which the "
            "standard errors do not."
        )
    if any(record.config.get("model") != records[0].config.get("model") for record in records):
        sentences.append("Models differ, so differences are not the mixtures' alone.")
    shared = set.intersection(*(set(record.tasks) for record in records))
    if any(
        record.tasks[task].weight != records[0].tasks[task].weight
        for record in records
        for task in shared
    ):
        sentences.append(f"The tasks' weights differ; the means are by those of {runs[0].name}.")
    changed = sorted(_changed_sources(records))
    if changed:
        sentences.append(f"The training data differ: {', '.join(changed)}.")
    return sentences


def task_rows(runs: Sequence[NamedRun]) -> list[TaskRow]:
    """Every task of any run, with what each run does on it.

    Args:
        runs: The runs; changes are against the first.

    Returns:
        One row a task, in the order in which the runs name them.
    """
    names = dict.fromkeys(name for run in runs for name in run.record.tasks)
    return [_task_row(runs, name) for name in names]


def mean_row(rows: Sequence[TaskRow]) -> TaskRow | None:
    """The mean test loss of every run over the tasks that can be compared, by the first's weights.

    Args:
        rows: Of all tasks.

    Returns:
        A row called ``mean``; None without such tasks.
    """
    shown = [row for row in rows if row.is_comparable]
    if not shown:
        return None
    results = [
        {row.task: cell.result for row, cell in zip(shown, column, strict=True) if cell.result}
        for column in zip(*(row.cells for row in shown), strict=True)
    ]
    weights = {task: result.weight for task, result in results[0].items()}
    means = [_mean(of_run, weights) for of_run in results]
    losses = [_loss(mean) or 0.0 for mean in means]
    cells = [
        TaskCell(
            mean,
            loss / losses[0] - 1.0 if i and losses[0] else None,
            i > 0 and is_clear(means[0], mean),
            loss == min(losses),
        )
        for i, (mean, loss) in enumerate(zip(means, losses, strict=True))
    ]
    return TaskRow("mean", tuple(cells), True)


def field_differences(runs: Sequence[NamedRun]) -> list[FieldDifference]:
    """Fields of the configs that differ, the run folder apart.

    Args:
        runs: The runs.

    Returns:
        One entry a field, with every run's value as text.
    """
    flat = [_flat(run.record.config) for run in runs]
    fields = dict.fromkeys(field for values in flat for field in values if field != "run")
    found = []
    for field in fields:
        values = tuple(_text(config[field]) if field in config else "–" for config in flat)
        if len(set(values)) > 1:
            found.append(FieldDifference(field, values))
    return found


def _task_row(runs: Sequence[NamedRun], task: str) -> TaskRow:
    results = [run.record.tasks.get(task) for run in runs]
    losses = [_loss(result) for result in results]
    hashes = {run.record.content.get(f"{task}-test") for run in runs} - {None}
    counts = {result.num_test for result in results if result is not None} - {None}
    known = [loss for loss in losses if loss is not None]
    is_comparable = len(known) == len(runs) and len(hashes) <= 1 and len(counts) <= 1
    cells = [
        TaskCell(
            result,
            loss / losses[0] - 1.0 if i and is_comparable and loss and losses[0] else None,
            is_comparable and i > 0 and is_clear(results[0], result),
            is_comparable and len(runs) > 1 and loss == min(known),
        )
        for i, (result, loss) in enumerate(zip(results, losses, strict=True))
    ]
    return TaskRow(task, tuple(cells), is_comparable)


def _mean(results: Mapping[str, TaskResult], weights: Mapping[str, float]) -> TaskResult:
    """The mean loss of several tasks, with its error as if their items had nothing in common."""
    share = shares(weights)
    return TaskResult(
        task_mean({task: _loss(result) or 0.0 for task, result in results.items()}, weights),
        math.hypot(*(share[task] * (result.test_loss_se or 0.0)
                     for task, result in results.items())),
    )  # fmt: skip


def is_clear(first: TaskResult | None, other: TaskResult | None) -> bool:
    """Whether two test losses differ by more than two standard errors of their difference."""
    if first is None or other is None or first.test_loss is None or other.test_loss is None:
        return False
    error = math.hypot(first.test_loss_se or 0.0, other.test_loss_se or 0.0)
    return abs(first.test_loss - other.test_loss) > 2.0 * error


def _loss(result: TaskResult | None) -> float | None:
    if result is None or result.test_loss is None or not math.isfinite(result.test_loss):
        return None
    return result.test_loss


def _changed_sources(records: Sequence[RunRecord]) -> set[str]:
    """Sources that are not in all runs, or hold something else; where both is known."""
    sources = [set(record.config.get("data", {}).get("sources", {})) for record in records]
    changed = set.union(*sources) - set.intersection(*sources)
    for name in set.intersection(*sources):
        if len({record.content.get(name) for record in records} - {None}) > 1:
            changed.add(name)
    return changed


def _flat(values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        field = f"{place}.{key}" if place else str(key)
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, field)
        else:
            flat[field] = value
    return flat


def _text(value: Any) -> str:  # noqa: ANN401 (any config)
    words = {None: "null", True: "true", False: "false"}
    is_word = value is None or isinstance(value, bool)
    return words[value] if is_word else str(value)
