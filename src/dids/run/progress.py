"""Progress for people: bars in a terminal, a line now and then where there is none."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LINE_EVERY_S = 15.0


class ConsoleProgress:
    """Shows progress on a console.

    Args:
        console: Where it goes: standard error, so that results can be piped.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = Console(stderr=True, markup=False) if console is None else console

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line, highlight=False)

    @contextmanager
    def bar(self, title: str, total: float) -> Iterator[Callable[[float], None]]:
        """A bar for work of a known size; a total of 0 counts without an end."""
        if not self.console.is_terminal:
            with self._lines(title, total) as advance:
                yield advance
            return
        columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn()]
        columns += [TaskProgressColumn()] if total == 1.0 else [MofNCompleteColumn()]
        columns += [TimeElapsedColumn(), TimeRemainingColumn()]
        with Progress(*columns, console=self.console, transient=False) as progress:
            task = progress.add_task(title, total=total or None)
            yield lambda amount: progress.advance(task, amount)

    @contextmanager
    def _lines(self, title: str, total: float) -> Iterator[Callable[[float], None]]:
        began_s = last_s = time.monotonic()
        done = 0.0

        def advance(amount: float) -> None:
            nonlocal done, last_s
            done += amount
            now_s = time.monotonic()
            if now_s - last_s >= _LINE_EVERY_S:
                last_s = now_s
                self.say(f"{title}: {f'{done / total:.0%}' if total else f'{done:,.0f}'}")

        yield advance
        self.say(f"{title}: done in {time.monotonic() - began_s:.1f} s")


class RankProgress:
    """Says on the first rank's console what another rank has to say; its bars are not shown.

    Args:
        progress: Of this process's console.
        rank: Number of this process.
    """

    def __init__(self, progress: ConsoleProgress, rank: int) -> None:
        self._progress = progress
        self._rank = rank

    def say(self, line: str) -> None:
        """Print a line with the number of the rank."""
        self._progress.say(f"rank {self._rank}: {line}")

    @contextmanager
    def bar(self, title: str, total: float) -> Iterator[Callable[[float], None]]:
        """No bar."""
        yield lambda amount: None
