"""What a command prints when it is done: small tables of the result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dids.atomic import read_json
from dids.domains.domains import Domains


def print_summary(folder: Path, console: Console | None = None) -> None:
    """The tasks' test losses against the control, and where the report is."""
    console = console or Console(markup=False)
    console.print(_task_table(folder))
    result = read_json(folder / "result.json")
    pairs = _pairs(result)
    if pairs:
        change_by_task = {task: own / other - 1.0 for task, (own, other) in pairs.items()}
        mean_own, mean_other = _means(pairs)
        mean = mean_own / mean_other - 1.0
        worst = max(change_by_task, key=lambda task: change_by_task[task])
        console.print(
            f"loss against {result['control']['policy']}: {mean:+.1%} on average over the tasks, "
            f"{change_by_task[worst]:+.1%} on the worst ({worst})",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"overhead {result['overhead']:.1%} of training time, {result['tokens']:,} tokens",
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


def _task_table(folder: Path) -> Table:
    result = read_json(folder / "result.json")
    control = result["control"]
    policy = result["config"]["mixture"]["policy"]
    table = Table(box=None)
    table.add_column("task")
    if control is not None:
        table.add_column(f"loss {control['policy']}", justify="right")
    table.add_column(f"loss {policy}", justify="right")
    for task, tested in result["tasks"].items():
        if tested["test_loss"] is None:
            continue
        loss = tested["test_loss"]
        if control is None:
            table.add_row(task, _number(loss))
            continue
        table.add_row(task, _number(control["tasks"][task]["test_loss"]), _number(loss))
    pairs = _pairs(result)
    if pairs:
        mean_own, mean_other = _means(pairs)
        table.add_row("mean", _number(mean_other), _number(mean_own), style="bold")
    return table


def _means(pairs: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """The mean test loss of the run and of the control, as the report has them."""
    own, other = zip(*pairs.values(), strict=True)
    return sum(own) / len(pairs), sum(other) / len(pairs)


def _pairs(result: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Each task's test loss and the control's, where both have one."""
    control = result["control"]["tasks"] if result["control"] is not None else {}
    pairs = {
        task: (tested["test_loss"], control.get(task, {}).get("test_loss"))
        for task, tested in result["tasks"].items()
    }
    return {task: (own, other) for task, (own, other) in pairs.items() if own and other}


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
