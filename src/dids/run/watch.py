"""A live view of a run in the terminal: where it is, how fast, what its mixture and tasks do."""

import time
from pathlib import Path

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dids.report.numbers import count_text, duration_text, loss_text, percent_text, plural
from dids.report.record import read_run_record
from dids.report.story import headline
from dids.run.run_state import LiveRun, RunState, run_state

MAX_ROWS = 12
"""Domains and tasks shown: a terminal is some forty lines high."""
_LOOK_EVERY_S = 1.0
_LINE_EVERY_S = 15.0
_SILENT_S = 60.0
"""Longer than any write is apart, except where one batch of a stage takes minutes."""


def watch(path: Path, *, once: bool = False, console: Console | None = None) -> RunState:
    """Show a run until it ends; in a pipe, one line now and then.

    Args:
        path: The run folder.
        once: Show it as it is now, and return.
        console: Where to.

    Returns:
        The run as it was at the end.

    Raises:
        InputError: If there is no run at that place.
    """
    console = console or Console(markup=False)
    state = run_state(path)
    if once or state.status != "running":
        console.print(view(state))
    elif console.is_terminal:
        state = _live_view(path, console)
    else:
        state = _lines(path, console)
    if not once or state.status != "running":
        console.print(Text(closing_sentence(state)), soft_wrap=True)
    return state


def view(state: RunState) -> RenderableType:
    """A run as it is at one moment."""
    parts: list[RenderableType] = [_stages(state)]
    if state.status == "running":
        parts.append(_progress(state))
    if state.live is not None:
        # Only of the run itself is the mixture a decision.
        tables = [] if state.live.name == "proxy" else [_mixture(state.live)]
        if state.live.task_losses:
            tables.append(_tasks(state.live))
        parts += [Text(), Columns(tables, padding=(0, 4))] if tables else []
    return Group(*parts)


def summary_line(state: RunState) -> str:
    """A run in one line, for logs and pipes."""
    parts = [f"{state.path.name}: {state.progress.get('title') or state.stage}"]
    if state.fraction is not None:
        parts.append(percent_text(state.fraction, digits=0))
    if state.live is not None and state.live.name == state.stage:
        parts += _training_facts(state.live)
    if state.left_s is not None:
        parts.append(f"{duration_text(state.left_s)} left")
    return ", ".join(parts)


def closing_sentence(state: RunState) -> str:
    """What there is to say of a run that is not going on."""
    if state.status == "done":
        result = headline(read_run_record(state.path / "result.json")).striptags()
        return f"{state.path}: finished. {result}. Report: {state.path / 'report.html'}"
    done = sum(state.stages.values())
    where = f"{done} of {len(state.stages)} stages are done"
    if state.progress:
        where += f", it stopped in the stage {state.stage}"
        if state.live is not None and state.live.name == state.stage:
            where += f" near step {state.live.step:,}"
    return f"{state.path}: no process works on it; {where}; `dids run {state.path}` goes on."


def _live_view(path: Path, console: Console) -> RunState:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            state = run_state(path)
            live.update(view(state), refresh=True)
            if state.status != "running":
                return state
            time.sleep(_LOOK_EVERY_S)


def _lines(path: Path, console: Console) -> RunState:
    said_s, stage = float("-inf"), ""
    while (state := run_state(path)).status == "running":
        if state.stage != stage or time.monotonic() - said_s >= _LINE_EVERY_S:
            console.print(Text(summary_line(state)), soft_wrap=True)
            said_s, stage = time.monotonic(), state.stage or ""
        time.sleep(_LOOK_EVERY_S)
    return state


def _stages(state: RunState) -> Text:
    line = Text(f"{state.path}  ", style="bold")
    for name, is_done in state.stages.items():
        is_present = name == state.stage and state.status == "running"
        mark, style = ("✓", "green") if is_done else ("▸", "bold") if is_present else ("·", "dim")
        line.append(f"{mark}\N{NO-BREAK SPACE}{name}  ", style=style)
    return line


def _progress(state: RunState) -> RenderableType:
    """The bar, and the numbers under it."""
    facts = [percent_text(state.fraction, digits=0)] if state.fraction is not None else []
    if state.live is not None and state.live.name == state.stage:
        facts += _training_facts(state.live)
    elif state.progress.get("total", 0) > 1:
        facts.append(f"{state.progress['done']:,.0f} of {state.progress['total']:,.0f}")
    if state.left_s is not None:
        facts.append(f"{duration_text(state.left_s)} left")
    silent_s = time.time() - state.progress.get("updated_s", time.time())
    if silent_s > _SILENT_S:
        facts.append(f"last sign of life {duration_text(silent_s)} ago")
    title = Text(str(state.progress.get("title") or state.stage), style="bold")
    line = Table.grid(expand=True)  # a bar alone does not end its line
    line.add_row(
        ProgressBar(total=1.0, completed=state.fraction or 0.0, pulse=state.fraction is None)
    )
    return Group(Text(), title, line, Text(" · ".join(facts)))


def _training_facts(live: LiveRun) -> list[str]:
    facts = [f"step {live.step:,} of about {live.nominal_steps:,}"]
    if live.budget_tokens is not None:
        facts.append(f"{count_text(live.tokens)} of {count_text(live.budget_tokens)} tokens")
    if live.tokens_per_s is not None:
        facts.append(f"{count_text(live.tokens_per_s)} tokens/s")
    if live.num_rounds > 1:
        facts.append(f"round {live.round + 1} of {live.num_rounds}")
    if live.training_loss is not None:
        facts.append(f"training loss {loss_text(live.training_loss)}")
    if live.overhead is not None and live.name == "train":
        facts.append(f"overhead {percent_text(live.overhead)}")
    return facts


def _mixture(live: LiveRun) -> Table:
    """The largest weights, and how far each moved with the last decision."""
    first, before, now = live.mixtures[0], live.mixtures[-2:][0], live.mixtures[-1]
    table = _table("domain", "first", "now", "last move")
    shown = sorted(now, key=lambda name: -now[name])[:MAX_ROWS]
    for name in shown:
        move = now[name] - before.get(name, 0.0)
        style = "green" if move > 5e-4 else "red" if move < -5e-4 else "dim"
        table.add_row(
            Text(name),
            percent_text(first.get(name, 0.0)),
            percent_text(now[name]),
            Text(percent_text(move, signed=True), style=style),
        )
    rest = [name for name in now if name not in shown]
    if rest:
        shares = [sum(mixture.get(name, 0.0) for name in rest) for mixture in (first, now)]
        texts = [percent_text(share) for share in shares]
        table.add_row(plural(len(rest), "other"), *texts, "", style="dim")
    return table


def _tasks(live: LiveRun) -> Table:
    """Validation losses: at the start, the lowest, and now."""
    table = _table("task", "first", "lowest", "now")
    losses = list(live.task_losses.items())
    for name, seen in losses[:MAX_ROWS]:
        style = "green" if seen[-1] <= min(seen) else "yellow"
        now = Text(loss_text(seen[-1]), style=style)
        table.add_row(Text(name), loss_text(seen[0]), loss_text(min(seen)), now)
    if len(losses) > MAX_ROWS:
        table.add_row(plural(len(losses) - MAX_ROWS, "other"), style="dim")
    return table


def _table(name: str, *numbers: str) -> Table:
    table = Table(name, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in numbers:
        table.add_column(title, justify="right")
    return table
