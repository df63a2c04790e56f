"""The page that compares runs: the look of one run's page, a column a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dids.atomic import write_text
from dids.report import runs as compare
from dids.report.groups import source_groups
from dids.report.html import html_page
from dids.report.numbers import loss_text, percent_text, plural
from dids.report.palette import HUES, Colour, emphasised, oklch_hex
from dids.report.record import RunRecord
from dids.report.runs import NamedRun, TaskRow

MAX_SOURCES = 40
"""Areas and rows of a mixture; more are summed into one."""


@dataclass(frozen=True)
class SourceShares:
    """One source in every run: its share in the first mixture and in the last."""

    source: str
    colour: Colour
    first: tuple[float, ...]
    last: tuple[float, ...]


def write_comparison(path: Path, runs: Sequence[tuple[str, RunRecord]]) -> None:
    """Write a page that compares runs.

    Args:
        path: Where to; replaced if it exists, and never left half-written.
        runs: Pairs of folder and record; the first is what the others are compared with.

    Raises:
        InputError: If they cannot be compared.
    """
    html = comparison_html(runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html)


def comparison_html(runs: Sequence[tuple[str, RunRecord]]) -> str:
    """The page as HTML.

    Args:
        runs: Pairs of folder and record.

    Returns:
        The document.

    Raises:
        InputError: If they cannot be compared.
    """
    named = compare.named_runs(runs)
    compare.check_comparable(named)
    rows = compare.task_rows(named)
    mean = compare.mean_row(rows)
    shares = source_shares(named)
    colours = run_colours(len(named))
    values = {
        "runs": named,
        "colours": colours,
        "headline": headline(named, mean),
        "sentences": story(named, rows),
        "cautions": compare.cautions(named),
        "rows": rows,
        "mean": mean,
        "shares": shares,
        "largest_share": max((last for share in shares for last in share.last), default=1.0),
        "differences": compare.field_differences(named),
        "chart_data": {
            "mixtures": [_mixture(run, shares) for run in named],
            "losses": _losses(named, colours),
        },
    }
    return html_page("comparison.html.jinja", "comparison.js", values)


def run_colours(number: int) -> list[Colour]:
    """A colour for every run's line; the first is grey, being what the others are compared with.

    Example:
        >>> len({colour.light for colour in run_colours(5)})
        5
    """
    grey = Colour(oklch_hex(0.62, 0.0, 0.0), oklch_hex(0.66, 0.0, 0.0))
    return [
        grey,
        *(
            Colour(oklch_hex(0.58, 0.15, hue), oklch_hex(0.72, 0.13, hue))
            for hue in (HUES[i % len(HUES)] for i in range(number - 1))
        ),
    ]


def headline(runs: Sequence[NamedRun], mean: TaskRow | None) -> Markup:
    """Which run has the lowest mean test loss, and by how much."""
    assert mean is not None, "runs that can be compared have a task"
    means = [cell.result for cell in mean.cells if cell.result is not None]
    losses = [result.test_loss or 0.0 for result in means]
    order = sorted(range(len(runs)), key=lambda i: losses[i])
    best, second = order[0], order[1]
    if losses[second] - losses[best] < 5e-4:
        return Markup("{} and {} have the same mean test loss, {}").format(
            runs[best].name, runs[second].name, loss_text(losses[best])
        )
    is_clear = compare.is_clear(means[best], means[second])
    return Markup("{} has the lowest mean test loss, {}, {} below {}{}").format(
        runs[best].name,
        loss_text(losses[best]),
        percent_text(1.0 - losses[best] / losses[second]),
        runs[second].name,
        "" if is_clear else ", which is within two standard errors",
    )


def story(runs: Sequence[NamedRun], rows: Sequence[TaskRow]) -> list[Markup]:
    """What every other run does against the first, a sentence each."""
    shown = [row for row in rows if row.is_comparable]
    sentences = []
    for i, run in enumerate(runs[1:], start=1):
        cells = [row.cells[i] for row in shown]
        lower = sum((cell.change or 0.0) < 0 for cell in cells)
        clear = sum((cell.change or 0.0) < 0 and cell.is_clear for cell in cells)
        worse = sum((cell.change or 0.0) > 0 and cell.is_clear for cell in cells)
        sentences.append(
            Markup(
                "<b>{}</b> against {}: lower test loss on <b>{} of {}</b>, beyond two standard "
                "errors on {}; higher beyond them on {}."
            ).format(run.name, runs[0].name, lower, plural(len(shown), "task"), clear, worse)
        )
    return sentences


def source_shares(runs: Sequence[NamedRun]) -> list[SourceShares]:
    """The sources of all runs, the largest final share first, in one colour each.

    The sources that differ most, over time or between the runs, get the colours.
    """
    by_run = [{group.source: group for group in source_groups(run.record)} for run in runs]
    sources = {
        source: (
            tuple(groups[source].first if source in groups else 0.0 for groups in by_run),
            tuple(groups[source].last if source in groups else 0.0 for groups in by_run),
        )
        for source in dict.fromkeys(name for groups in by_run for name in groups)
    }
    spread = [(name, max(first + last) - min(first + last))
              for name, (first, last) in sources.items()]  # fmt: skip
    coloured = emphasised(spread)
    ranked = sorted(sources, key=lambda name: -sum(sources[name][1]))
    return [SourceShares(name, _colour(name, coloured), *sources[name]) for name in ranked]


def _colour(source: str, coloured: Sequence[str]) -> Colour:
    if source not in coloured:
        return Colour(oklch_hex(0.82, 0.0, 0.0), oklch_hex(0.42, 0.0, 0.0))
    hue = HUES[coloured.index(source)]
    return Colour(oklch_hex(0.66, 0.12, hue), oklch_hex(0.66, 0.12, hue))


def _mixture(run: NamedRun, shares: Sequence[SourceShares]) -> dict[str, Any]:
    record = run.record
    members: dict[str, list[str]] = {}
    for name, domain in record.domains.items():
        members.setdefault(domain.main_source or name, []).append(name)
    areas = [
        {
            "name": share.source,
            "light": share.colour.light,
            "dark": share.colour.dark,
            "shares": [
                sum(mixture.probability.get(name, 0.0) for name in members.get(share.source, ()))
                for mixture in record.mixture
            ],
        }
        for share in shares
    ]
    if len(areas) > MAX_SOURCES:
        kept, rest = areas[: MAX_SOURCES - 1], areas[MAX_SOURCES - 1 :]
        columns = zip(*(area["shares"] for area in rest), strict=True)
        other = {**rest[-1], "name": f"{len(rest)} other sources"}
        areas = [*kept, {**other, "shares": [sum(column) for column in columns]}]
    return {
        "tokens": [mixture.tokens for mixture in record.mixture],
        "rounds": [mixture.round for mixture in record.mixture],
        "end": record.tokens,
        "areas": areas,
    }


def _losses(runs: Sequence[NamedRun], colours: Sequence[Colour]) -> list[dict[str, Any]]:
    tasks = dict.fromkeys(name for run in runs for name in run.record.tasks)
    charts = []
    for task in tasks:
        lines = [
            {
                "name": run.name,
                "light": colour.light,
                "dark": colour.dark,
                "points": [list(point) for point in run.record.tasks[task].validation_history],
            }
            for run, colour in zip(runs, colours, strict=True)
            if task in run.record.tasks and run.record.tasks[task].validation_history
        ]
        if lines:
            charts.append({"task": task, "lines": lines})
    return charts
