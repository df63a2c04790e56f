"""The newest validation losses, for policies that look at nothing else of the tasks.

Axis letters: t tasks.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from dids.mixture.observation import Observation


@dataclass(frozen=True)
class NewestLosses:
    """Of the tasks that have a validation loss.

    Attributes:
        task_names: Their names.
        loss_t: Their losses.
        weight_t: The user's weights, 1 on average.
    """

    task_names: tuple[str, ...]
    loss_t: Float64[np.ndarray, " t"]
    weight_t: Float64[np.ndarray, " t"]


def newest_losses(observation: Observation) -> NewestLosses | None:
    """What is known of the tasks now; None where nothing is, as before the run.

    Tasks whose weights are not among the observation's all count the same.
    """
    losses = {task: points[-1][1] for task, points in observation.task_losses.items() if points}
    if not losses:
        return None
    weight_t = np.asarray(observation.task_weights, dtype=np.float64)
    if len(weight_t) != len(losses) or weight_t.sum() <= 0.0:
        weight_t = np.ones(len(losses))
    return NewestLosses(tuple(losses), np.array(list(losses.values())), weight_t / weight_t.mean())
