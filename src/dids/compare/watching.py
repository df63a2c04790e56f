"""Shows how the runs of a contest come along: bars in a terminal, lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dids.compare.layout import PlannedRun
from dids.run.run_state import run_state

_LINE_EVERY_S = 60.0


class ContestProgress:
    """Shows the runs of one part of a contest.

    Args:
        title: What the part is.
        num_runs: That are left.
        bars: Where they are shown; None: lines are printed.
        console: Where it goes.
    """

    def __init__(self, title: str, num_runs: int, bars: Progress | None, console: Console) -> None:
        self.num_runs, self.num_ended = num_runs, 0
        self.bars, self.console = bars, console
        self.bar_by_run: dict[str, TaskID] = {}
        self.said_s: dict[str, float] = {}
        """When a line was last printed of a run, without bars."""
        self.whole = bars.add_task(title, total=num_runs, where=self._count) if bars else None

    def look(self, running: Sequence[PlannedRun]) -> None:
        """Show where the runs under way are."""
        if self.bars is None:
            self._say_where(running)
            return
        for run in running:
            if run.title not in self.bar_by_run:
                self.bar_by_run[run.title] = self.bars.add_task(
                    f"  {run.title}", total=1.0, where=""
                )
            state = run_state(run.folder.path)
            bar, done = self.bar_by_run[run.title], state.fraction or 0.0
            self.bars.update(bar, completed=done, where=state.stage or "")

    def ended(self, run: PlannedRun, elapsed_s: float, failure: str | None) -> None:
        """Say that a run is over."""
        self.num_ended += 1
        if self.bars is not None and self.whole is not None:
            self.bars.update(self.whole, advance=1, where=self._count)
            if run.title in self.bar_by_run:
                self.bars.remove_task(self.bar_by_run.pop(run.title))
        if self.bars is None or failure is not None:
            how = f"{elapsed_s:.1f} s" if failure is None else f"failed: {failure}"
            self._say(run, f"{how} ({self._count})")

    def _say_where(self, running: Sequence[PlannedRun]) -> None:
        now_s = time.monotonic()
        for run in running:
            if run.title not in self.said_s:
                line = "begins"
            elif now_s - self.said_s[run.title] >= _LINE_EVERY_S:
                state = run_state(run.folder.path)
                line = f"{state.stage or 'starting'} {state.fraction or 0.0:.0%}"
            else:
                continue
            self.said_s[run.title] = now_s
            self._say(run, line)

    def _say(self, run: PlannedRun, line: str) -> None:
        self.console.print(f"{run.title}: {line}", highlight=False, soft_wrap=True, markup=False)

    @property
    def _count(self) -> str:
        return f"{self.num_ended} of {self.num_runs}"


@contextmanager
def contest_progress(title: str, num_runs: int, console: Console) -> Iterator[ContestProgress]:
    """A display for one part of a contest."""
    if not console.is_terminal:
        yield ContestProgress(title, num_runs, None, console)
        return
    where = TextColumn("{task.fields[where]}", markup=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        where,
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield ContestProgress(title, num_runs, bars, console)
