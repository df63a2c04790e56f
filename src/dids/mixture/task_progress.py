"""How each task is doing, relative to its own loss: its improvement of late and its potential.

Absolute drops feed back: a task whose loss is large and falls because it is trained on asks for
more. Measured once, such weights gave one task half of all data.

Axis letters: t tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from dids.mixture.potential import UNKNOWN, Potential, potential


@dataclass(frozen=True)
class TaskProgress:
    """One task's trajectory.

    Attributes:
        improvement: Loss drop since the last look, over the loss; negative where it rose. None with
            fewer than two looks.
        potential: Predicted drop over the next horizon, over the loss. None where the fit is not
            reliable.
        potential_nats: The prediction itself.
        regain: How far the loss is above the lowest one seen, over the loss: a loss that a task has
            had is a promise too.
    """

    improvement: float | None
    potential: float | None
    potential_nats: Potential
    regain: float = 0.0

    @property
    def promise(self) -> float | None:
        """The greater of potential and regain; None where neither says anything."""
        if self.potential is None:
            return self.regain if self.regain > 0.0 else None
        return max(self.potential, self.regain)


def task_progress(history: Sequence[tuple[int, float]], horizon_tokens: int) -> TaskProgress:
    """Improvement and potential of a task with these looks at its loss."""
    if not history or history[-1][1] <= 0.0:
        return TaskProgress(None, None, UNKNOWN)
    loss = history[-1][1]
    improvement = (history[-2][1] - loss) / loss if len(history) > 1 else None
    predicted = potential(history, horizon_tokens)
    relative = predicted.drop_nats / loss if predicted.is_reliable else None
    regain = (loss - min(seen for _, seen in history)) / loss
    return TaskProgress(improvement, relative, predicted, regain)


def progress_of_tasks(
    task_names: Sequence[str],
    task_losses: Mapping[str, Sequence[tuple[int, float]]],
    horizon_tokens: int,
) -> list[TaskProgress]:
    """Progress of every task, in the order of ``task_names``."""
    return [task_progress(task_losses.get(task, ()), horizon_tokens) for task in task_names]


def filled(values: Sequence[float | None]) -> np.ndarray | None:
    """The values, with the mean of the known ones where one is not known; None if none is.

    A task of which nothing is known is neither preferred nor put back.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    neutral = float(np.mean(known))
    return np.array([neutral if value is None else value for value in values])


def tilted_weights(
    given_t: Float[np.ndarray, " t"], progress: Sequence[TaskProgress], potential_weight: float
) -> Float64[np.ndarray, " t"]:
    """The user's weights, tilted by what each task's loss promises, relative to itself.

    Args:
        given_t: The user's.
        progress: Of every task.
        potential_weight: From 0, the user's weights alone, to 1, by the promises alone.

    Returns:
        Weights summing to 1.
    """
    weight_t = given_t.astype(np.float64)
    gains = filled([seen.promise for seen in progress])
    if gains is not None and potential_weight > 0.0:
        gains = np.maximum(gains, 0.0)
        if gains.mean() > 0.0:
            tilt_t = gains / gains.mean()
            weight_t = weight_t * (1.0 - potential_weight + potential_weight * tilt_t)
    return np.asarray(weight_t / weight_t.sum())
