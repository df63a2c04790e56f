"""What training on each domain really does to every task: trained, not estimated.

Axis letters: k domains, t tasks, s numbers of steps.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from benchmarks.fidelity.training import Checkpoint, Samples, mean_losses


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
        checkpoint: Where all of them start, optimizer state included. It is left as it is.
        training: The training samples.
        domains: Numbers of the samples of each domain.
        tasks: Test items of each task.
        items: Numbers of those that are looked at.
        num_steps: Numbers of steps after which the losses are measured, ascending.
        batch_size: Samples of a step.
        random: Draws the samples.

    Returns:
        Nats a token; negative where the loss rose.
    """
    before_t = mean_losses(checkpoint.model, tasks, items)
    drop_skt = np.empty((len(num_steps), len(domains), len(tasks)))
    for domain, members in enumerate(domains):
        trained, done = checkpoint.copied(), 0
        for look, steps in enumerate(num_steps):
            for _ in range(steps - done):
                trained.step(training.batch(random.choice(members, batch_size)))
            done = steps
            drop_skt[look, domain] = before_t - mean_losses(trained.model, tasks, items)
    return drop_skt
