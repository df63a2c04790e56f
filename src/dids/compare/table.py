"""What ``dids compare`` prints."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from dids.compare import words
from dids.compare.contest import Finished
from dids.compare.standings import Standing
from dids.report.numbers import loss_text, percent_text


def print_contest(
    contest: Finished, rows: Sequence[Standing], console: Console | None = None
) -> None:
    """Print the standings, the losses by task, what was searched, and what failed."""
    console = console or Console()
    for line in words.tuning_lines(contest):
        console.print(f"searched: {line}", highlight=False, soft_wrap=True)
    console.print(_standings(contest, rows))
    console.print(_tasks(rows))
    lines = [*words.notes(contest), f"{words.headline(rows)}.", *words.sentences(contest, rows)]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _standings(contest: Finished, rows: Sequence[Standing]) -> Table:
    table = Table(box=None)
    for number, title in enumerate(words.COLUMNS):
        table.add_column(title, justify="right" if number else "left", overflow="fold")
    for row in rows:
        tuning = contest.settings[row.entrant].tokens
        table.add_row(*words.row_texts(row, contest.config.budget.tokens, tuning))
    return table


def _tasks(rows: Sequence[Standing]) -> Table:
    """A row a task, a column an entrant: loss with its spread, and the change."""
    table = Table("task", box=None)
    for row in rows:
        table.add_column(row.entrant, justify="right", overflow="fold")
    for task in rows[0].tasks:
        cells = []
        for row in rows:
            standing = row.tasks[task]
            spread = "" if standing.loss.sd is None else f" ± {loss_text(standing.loss.sd)}"
            change = percent_text(standing.change, signed=True) if standing.change else ""
            cells.append(f"{loss_text(standing.loss.mean)}{spread} {change}".strip())
        table.add_row(task, *cells)
    return table
