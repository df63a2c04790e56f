"""What went wrong in a run: tasks forgotten, tasks served worse than by the control, poor fits.

A loss that rises is an alarm once it rises by more than the curve wobbles anyway: the wobble is
what each point is off the line between its neighbours, so that a curve that falls does not count
as one that wobbles.
"""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dids.report.against_control import task_comparisons
from dids.report.numbers import count_text, loss_text, percent_text, plural
from dids.report.record import RunRecord

_LEAST_RISE = 0.005
"""Of the lowest loss: less is no news, however calm the curve."""
_RISE_OF_SHORT_CURVES = 0.02
"""Where there are too few points to know how a curve wobbles."""
_LEAST_POINTS = 5
_LOOKS_BEFORE_A_FIT = 4
_LEAST_DECISIONS = 3

Curve = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Forgetting:
    """A loss that ends above its lowest value, beyond its wobble."""

    lowest: float
    lowest_tokens: int
    last: float

    @property
    def rise(self) -> float:
        """As a fraction of the lowest loss."""
        return self.last / self.lowest - 1.0


def wobble(curve: Curve) -> float | None:
    """Standard deviation of a curve about itself: how far points are off their neighbours' middle.

    Args:
        curve: Pairs of tokens and loss, about equally spaced.

    Returns:
        In the loss's unit, from the median, which a steep beginning does not move; None with fewer
        than five points.

    Example:
        >>> wobble([(n, 5.0 - n) for n in range(6)])
        0.0
    """
    losses = [loss for _, loss in curve]
    if len(losses) < _LEAST_POINTS:
        return None
    off = [abs(losses[i] - (losses[i - 1] + losses[i + 1]) / 2) for i in range(1, len(losses) - 1)]
    # A normal variable's median is 0.6745 deviations; the middle of two neighbours adds half.
    return statistics.median(off) / 0.6745 / math.sqrt(1.5)


def forgetting(curve: Curve) -> Forgetting | None:
    """Whether a task's loss ends above its lowest value by more than noise.

    Args:
        curve: Pairs of tokens trained on and validation loss.

    Returns:
        What was lost; None where the end is the best there was, to within noise.
    """
    seen = [(tokens, loss) for tokens, loss in curve if math.isfinite(loss)]
    if not seen:
        return None
    lowest_tokens, lowest = min(seen, key=lambda point: point[1])
    noise, last = wobble(seen), seen[-1][1]
    # Two deviations of the last point, and as far as the lowest of so many strays by chance.
    stray = 2.0 + math.sqrt(2.0 * math.log(len(seen)))
    limit = _RISE_OF_SHORT_CURVES * lowest if noise is None else stray * noise
    if last - lowest <= max(limit, _LEAST_RISE * lowest):
        return None
    return Forgetting(lowest, lowest_tokens, last)


def alarms(run: RunRecord) -> list[str]:
    """Tasks that went backwards: against the control, the model before training, their own best.

    Args:
        run: The record.

    Returns:
        One sentence each.
    """
    sentences = []
    for task in task_comparisons(run):
        if task.change is not None and task.change > 0 and task.is_clear:
            sentences.append(
                f"{task.name}: test loss {loss_text(task.run.test_loss)} is "
                f"{percent_text(task.change)} above the control's, more than two standard errors."
            )
        if task.since_base is not None and task.since_base > 0 and task.is_clear_since_base:
            sentences.append(
                f"{task.name}: test loss {loss_text(task.run.test_loss)} is "
                f"{percent_text(task.since_base)} above the model's before training, more than two "
                "standard errors: the run has cost this task something."
            )
        lost = forgetting(task.run.validation_history)
        if lost is not None:
            sentences.append(
                f"{task.name}: validation loss ends at {loss_text(lost.last)}, "
                f"{percent_text(lost.rise)} above its lowest, {loss_text(lost.lowest)} at "
                f"{count_text(lost.lowest_tokens)} tokens: the model forgets this task."
            )
    return sentences


def poor_fits(run: RunRecord) -> list[str]:
    """Tasks whose loss curve said nothing of what is to come in most decisions.

    Args:
        run: The record.

    Returns:
        One sentence each.
    """
    decided: Counter[str] = Counter()
    unfit: Counter[str] = Counter()
    for mixture in run.mixture[_LOOKS_BEFORE_A_FIT - 1 :]:
        for task, seen in mixture.explained("tasks").items():
            if "is_reliable" in seen:
                decided[task] += 1
                unfit[task] += not seen["is_reliable"]
    return [
        f"{task}: in {unfit[task]} of {plural(count, 'decision')} no curve fitted its losses, so "
        "its potential counted as the other tasks' mean."
        for task, count in decided.items()
        if count >= _LEAST_DECISIONS and 2 * unfit[task] > count
    ]
