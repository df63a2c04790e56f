"""Alternating rows round by round in one process, so that they share what the machine does.

A row's time is divided by that of its baseline, the mean of what it takes before the row and after
it, over as many batches as the row looks at: a machine that others use is not as fast a minute
later. On a CPU with one thread the clock is the process's own processor time: others on the machine
take turns, but no time of this process. Otherwise it is wall time.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

import torch

from benchmarks.gradients.measured import Measured
from benchmarks.gradients.row import PLAIN, Output, Row, Step
from benchmarks.gradients.subject import Batch, Subject


def clock_of(device: torch.device) -> tuple[Callable[[], float], str]:
    """The clock, and what to call it."""
    if device.type == "cuda":
        return _synchronised, "wall time"
    if torch.get_num_threads() == 1:
        return time.process_time, "processor time"
    return time.perf_counter, "wall time"


def _synchronised() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def alternated(
    rows: Sequence[Row], subject: Subject, num_rounds: int, row_seconds: float
) -> tuple[list[Measured], dict[str, Step]]:
    """Time all rows, and keep what they return.

    Args:
        rows: The rows; every row's baseline is one of them.
        subject: What they run on.
        num_rounds: Rounds; round r runs batch r, and starts again when there is none left.
        row_seconds: What a row may take in all: a slow one runs in fewer rounds, and of one that
            cannot even run twice the warm-up counts.

    Returns:
        A result for every row, and the steps of those that work. Ctrl+C after a round's end leaves
        out the rounds to come and what the one begun has not timed yet.
    """
    measured = {row.name: Measured(row) for row in rows}
    steps: dict[str, Step] = {}
    clock, _ = clock_of(subject.device)
    rounds_by_name = {}
    for row in rows:
        progress(f"warm-up: {row.name}")
        result = measured[row.name]
        warm_s = _warm_up(result, subject, steps, clock)
        if warm_s is None:
            continue
        rounds_by_name[row.name] = min(num_rounds, int(row_seconds / max(warm_s, 1e-9)))
        if rounds_by_name[row.name] == 0:
            plain_s, _ = _timed(steps[PLAIN], subject.batches[0], clock)
            baseline_s = plain_s
            if row.baseline != PLAIN:
                baseline_s, _ = _timed(steps[row.baseline], subject.batches[0], clock)
            result.note_time(warm_s / row.batches_a_call, baseline_s, plain_s)
    for number in range(num_rounds):
        progress(f"round {number + 1} of {num_rounds}")
        due = [row for row in rows if rounds_by_name.get(row.name, 0) > number]
        try:
            _one_round(due, measured, steps, number % len(subject.batches), subject, clock)
        except KeyboardInterrupt:
            if number == 0:
                raise
            progress(f"stopped: {number} of {num_rounds} rounds are told of")
            break
    return list(measured.values()), steps


def progress(text: str) -> None:
    """Tell who waits."""
    print(text, file=sys.stderr, flush=True)


def _warm_up(
    result: Measured, subject: Subject, steps: dict[str, Step], clock: Callable[[], float]
) -> float | None:
    """Prepare a row and run it once; None, and the reason noted, if that fails."""
    try:
        step = result.row.prepared(subject)
        began_s = clock()
        step(subject.batches[0])
        took_s = clock() - began_s
    except ImportError as error:
        result.problem = f"not installed: {error}"
    except Exception as error:  # other people's code fails in every way
        result.problem = f"failed: {type(error).__name__}: {str(error).splitlines()[0]}"
    else:
        steps[result.row.name] = step
        return took_s
    return None


def _one_round(
    due: Sequence[Row],
    measured: dict[str, Measured],
    steps: dict[str, Step],
    number: int,
    subject: Subject,
    clock: Callable[[], float],
) -> None:
    batch = subject.batches[number]
    for baseline in dict.fromkeys(row.baseline for row in due):
        rows = [row for row in due if row.baseline == baseline]
        compared = {name: steps[name] for name in (baseline, PLAIN)}
        before_s = _mean_times(compared, batch, clock, rows[0].batches_a_call)
        for row, following in zip_longest(rows, rows[1:]):
            row_s, output = _timed(steps[row.name], batch, clock)
            calls = max(row.batches_a_call, following.batches_a_call if following else 1)
            after_s = _mean_times(compared, batch, clock, calls)
            baseline_s, plain_s = (
                (before_s[name] + after_s[name]) / 2 for name in (baseline, PLAIN)
            )
            measured[row.name].note_time(row_s / row.batches_a_call, baseline_s, plain_s)
            measured[row.name].outputs[number] = output
            before_s = after_s


def _mean_times(
    compared: Mapping[str, Step], batch: Batch, clock: Callable[[], float], calls: int
) -> dict[str, float]:
    """Seconds of each step, in the mean over so many calls."""
    return {
        name: statistics.mean(_timed(step, batch, clock)[0] for _ in range(calls))
        for name, step in compared.items()
    }


def _timed(step: Step, batch: Batch, clock: Callable[[], float]) -> tuple[float, Output]:
    began_s = clock()
    output = step(batch)
    return clock() - began_s, output
