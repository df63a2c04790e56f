"""Shows how the runs of a contest come along: bars in a terminal, a line a run elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dids.compare.layout import PlannedRun
from dids.run.run_state import run_state


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
        self.tasks: dict[str, int] = {}
        self.all = bars.add_task(title, total=num_runs, stage="") if bars is not None else None

    def look(self, running: Sequence[PlannedRun]) -> None:
        """Show where the runs under way are."""
        if self.bars is None:
            return
        for run in running:
            if run.title not in self.tasks:
                self.tasks[run.title] = self.bars.add_task(f"  {run.title}", total=1.0, stage="")
            state = run_state(run.folder.path)
            self.bars.update(
                self.tasks[run.title],  # type: ignore[arg-type]
                completed=state.fraction or 0.0,
                stage=state.stage or "",
            )

    def ended(self, run: PlannedRun, elapsed_s: float, failure: str | None) -> None:
        """Say that a run is over."""
        self.num_ended += 1
        how = f"{elapsed_s:.1f} s" if failure is None else f"failed: {failure}"
        if self.bars is None or failure is not None:
            count = f"({self.num_ended} of {self.num_runs})"
            self.console.print(f"{run.title}: {how} {count}", highlight=False, soft_wrap=True)
        if self.bars is not None:
            self.bars.advance(self.all)  # type: ignore[arg-type]
            if run.title in self.tasks:
                self.bars.remove_task(self.tasks.pop(run.title))  # type: ignore[arg-type]


@contextmanager
def contest_progress(title: str, num_runs: int, console: Console) -> Iterator[ContestProgress]:
    """A display for one part of a contest."""
    if not console.is_terminal:
        yield ContestProgress(title, num_runs, None, console)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[stage]}"),
        MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bars:
        yield ContestProgress(title, num_runs, bars, console)
