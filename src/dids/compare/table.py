"""What ``dids compare`` prints."""

from collections.abc import Sequence

from rich.console import Console

from dids.compare import wording
from dids.compare.contest import Finished
from dids.compare.entrants import BASELINE, BEST_FIXED
from dids.compare.standings import Standing, TaskStanding
from dids.report.numbers import loss_text, percent_text
from dids.report.terminal import text_table

_SHOWN_RIVALS = 3
"""Columns of the losses by task; the page has all of them."""


def print_contest(
    contest: Finished, rows: Sequence[Standing], console: Console | None = None
) -> None:
    """Print the standings, the losses by task, what was searched, and what failed."""
    console = console or Console(markup=False)
    for line in wording.tuning_lines(contest):
        console.print(f"searched: {line}", highlight=False, soft_wrap=True, markup=False)
    budget = contest.config.budget.tokens
    reached = {row.entrant: wording.quality_texts(row) for row in rows}
    taken = {
        row.entrant: wording.cost_texts(row, budget, contest.settings[row.entrant].tokens)
        for row in rows
    }
    for titles, texts in ((wording.QUALITY, reached), (wording.COST, taken), _tasks(rows)):
        console.print(text_table(titles, texts))
        console.print()
    lines = [
        f"{wording.headline(rows)}.",
        *wording.sentences(contest, rows),
        *wording.notes(contest),
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _tasks(rows: Sequence[Standing]) -> tuple[list[str], dict[str, list[str]]]:
    """A column for the baseline, the best fixed mixture and the first ones: titles, and rows."""
    rivals = [row.entrant for row in rows if row.entrant not in (BASELINE, BEST_FIXED)]
    named = {BASELINE, BEST_FIXED, *rivals[:_SHOWN_RIVALS]}
    shown = [row for row in rows if row.entrant in named]
    texts = {task: [_task_text(row.tasks[task]) for row in shown] for task in rows[0].tasks}
    return [row.entrant for row in shown], texts


def _task_text(standing: TaskStanding) -> str:
    """Loss with its spread, and the change against the baseline."""
    spread = "" if standing.loss.sd is None else f" ± {loss_text(standing.loss.sd)}"
    change = f" {percent_text(standing.change, signed=True)}" if standing.change else ""
    return f"{loss_text(standing.loss.mean)}{spread}{change}"
