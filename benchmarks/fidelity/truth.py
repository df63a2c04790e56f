"""What training on each domain really does to every task: trained, not estimated.

Axis letters: k domains, t tasks, s numbers of steps.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from dids.audit import effects
from dids.audit.checkpoint import Checkpoint, Samples


def loss_drops(
    checkpoint: Checkpoint,
    training: Samples,
    domains: Sequence[np.ndarray],
    tasks: Sequence[Samples],
    items: Sequence[np.ndarray],
    *,
    num_steps: Sequence[int],
    batch_size: int,
    random: np.random.Generator,
) -> Float64[np.ndarray, "s k t"]:
    """How far each task's loss falls in so many steps on each domain alone.

    Args:
        checkpoint: As of `dids.audit.effects.loss_drops`.
        training: As there.
        domains: Numbers of the samples of each domain.
        tasks: Test items of each task.
        items: As there.
        num_steps: As there.
        batch_size: As there.
        random: Draws the samples, of one domain after the other.

    Returns:
        Nats a token; negative where the loss rose.
    """
    before_t = checkpoint.mean_losses(tasks, items)
    drops = [
        effects.loss_drops(
            checkpoint, training, members, tasks, items, before_t,
            num_steps=num_steps, batch_size=batch_size, random=random,
        )
        for members in domains
    ]  # fmt: skip
    return np.stack(drops, axis=1)
