"""What training on a domain really does to every task: trained, not estimated.

Axis letters: t tasks, s numbers of steps.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Integer

from dids.audit.checkpoint import Checkpoint, Samples


def loss_drops(
    checkpoint: Checkpoint,
    training: Samples,
    members: Integer[np.ndarray, " n"],
    tasks: Sequence[Samples],
    items: Sequence[Integer[np.ndarray, " m"]],
    before_t: Float64[np.ndarray, " t"],
    *,
    num_steps: Sequence[int],
    batch_size: int,
    random: np.random.Generator,
    beside: Sequence[Integer[np.ndarray, " c"]] = (),
) -> Float64[np.ndarray, "s t"]:
    """How far each task's loss falls in so many steps on one domain, alone or beside others.

    Args:
        checkpoint: Where they start, optimizer state included. It is left as it is.
        training: The training samples.
        members: Numbers of the domain's samples.
        tasks: Items of each task.
        items: Numbers of those that are looked at.
        before_t: The mean losses that theirs are compared with.
        num_steps: Numbers of steps after which the losses are measured, ascending.
        batch_size: Samples of the domain in a step.
        random: Draws them, with replacement.
        beside: Samples of every step besides those; none where it is empty.

    Returns:
        Nats a token; negative where the loss rose.
    """
    drop_st = np.empty((len(num_steps), len(tasks)))
    trained, done = checkpoint.copied(), 0
    for look, steps in enumerate(num_steps):
        for step in range(done, steps):
            chosen = random.choice(members, batch_size)
            if beside:
                chosen = np.concatenate([beside[step], chosen])
            trained.step(training.batch(chosen))
        done = steps
        drop_st[look] = before_t - trained.mean_losses(tasks, items)
    return drop_st


def losses_after(
    checkpoint: Checkpoint,
    training: Samples,
    batches: Sequence[Integer[np.ndarray, " c"]],
    tasks: Sequence[Samples],
    items: Sequence[Integer[np.ndarray, " m"]],
) -> Float64[np.ndarray, " t"]:
    """Mean losses after a step on each of these batches; without any, those of the checkpoint."""
    trained = checkpoint.copied()
    for chosen in batches:
        trained.step(training.batch(chosen))
    return trained.mean_losses(tasks, items)
