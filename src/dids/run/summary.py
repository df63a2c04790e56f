"""What a command prints when it is done: small tables of the result."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dids.atomic import read_json
from dids.domains.domains import Domains
from dids.report.against_control import MeanLoss, TaskComparison, mean_loss, task_comparisons
from dids.report.record import RunRecord, TaskResult, read_run_record


def print_summary(folder: Path, console: Console | None = None) -> None:
    """The tasks' test losses against the control and the model before, and where the report is."""
    console = console or Console(markup=False)
    record = read_run_record(folder / "result.json")
    comparisons = task_comparisons(record)
    mean = mean_loss(comparisons)
    console.print(_task_table(record, comparisons, mean))
    if mean is not None and mean.since_base is not None:
        changes = {task.name: task.since_base for task in comparisons}
        _print_change(console, "the model before training", mean, mean.since_base, changes)
    if mean is not None and mean.change is not None and record.control is not None:
        changes = {task.name: task.change for task in comparisons}
        _print_change(console, record.control.policy, mean, mean.change, changes)
    console.print(
        f"overhead {record.overhead or 0.0:.1%} of training time, {record.tokens:,} tokens",
        highlight=False,
    )
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def print_evaluation(folder: Path, console: Console | None = None) -> None:
    """Test loss and accuracy of every task and run."""
    table = Table("run", "task", "test loss", "accuracy", "length-normalised", box=None)
    for run, tasks in read_json(folder / "evaluation.json").items():
        for task, result in tasks.items():
            table.add_row(
                run,
                task,
                _number(result["test_loss"]),
                _number(result.get("accuracy"), 3),
                _number(result.get("accuracy_norm"), 3),
            )
    (console or Console(markup=False)).print(table)


def print_domains(folder: Path, console: Console | None = None) -> None:
    """Name, size and tightness of every domain."""
    domains = Domains.load(folder / "domains")
    table = Table("domain", "samples", "mean cosine to the centre", box=None)
    for name, size, cosine in zip(domains.names, domains.size_k, domains.cosines, strict=True):
        table.add_row(name, f"{int(size):,}", _number(cosine, 3))
    (console or Console(markup=False)).print(table)


def print_impact(folder: Path, console: Console | None = None) -> None:
    """The Fisher cosine of every domain with every task."""
    cosines = read_json(folder / "impact.json")["cosine"]
    tasks = list(next(iter(cosines.values())))
    table = Table("domain", *tasks, box=None)
    for domain, by_task in cosines.items():
        table.add_row(domain, *(_number(by_task[task], 2) for task in tasks))
    (console or Console(markup=False)).print(table)


def _task_table(
    record: RunRecord, comparisons: Sequence[TaskComparison], mean: MeanLoss | None
) -> Table:
    control = record.control
    table = Table(box=None)
    table.add_column("task")
    if record.base:
        table.add_column("loss before", justify="right")
    if control is not None:
        table.add_column(f"loss {control.policy}", justify="right")
    table.add_column(f"loss {record.config['mixture']['policy']}", justify="right")

    def add_row(
        name: str, before: float | None, other: float | None, own: float | None, style: str = ""
    ) -> None:
        others = [before] * bool(record.base) + [other] * (control is not None)
        table.add_row(name, *map(_number, [*others, own]), style=style)

    for task in comparisons:
        if task.run.test_loss is not None:
            add_row(task.name, _loss(task.base), _loss(task.control), task.run.test_loss)
    if mean is not None and not (mean.control is None and mean.base is None):
        add_row("mean", mean.base, mean.control, mean.run, "bold")
    return table


def _print_change(
    console: Console,
    other: str,
    mean: MeanLoss,
    mean_change: float,
    changes: Mapping[str, float | None],
) -> None:
    worst, worst_change = max(
        ((name, change) for name, change in changes.items() if change is not None),
        key=lambda pair: pair[1],
    )
    console.print(
        f"loss against {other}: {mean_change:+.1%} on "
        f"{'weighted ' if mean.is_weighted else ''}average over the tasks, "
        f"{worst_change:+.1%} on the worst ({worst})",
        highlight=False,
        soft_wrap=True,
    )


def _loss(result: TaskResult | None) -> float | None:
    return None if result is None else result.test_loss


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
