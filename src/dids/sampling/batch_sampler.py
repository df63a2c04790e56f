"""The sampler's plans as micro-batches, for a PyTorch data loader in the main process."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from dids.sampling.sampler import MixtureSampler


class MixtureBatchSampler(Sampler[list[int]]):
    """Micro-batch by micro-batch, the samples of every optimizer step.

    With several ranks the micro-batches of a step follow each other, as Accelerate deals them out,
    so the samples of a step do not depend on the number of ranks. Within a step, samples of like
    length share a micro-batch: less padding, the same gradient.

    Args:
        sampler: Plans the steps.
        micro_batch_size: Samples in one batch of the loader.
        accumulation: Micro-batches of one rank in one optimizer step.
        num_steps: Optimizer steps of the whole run: the last one is ``num_steps - 1``.
        start_step: The first step to yield; a run that resumes without replay starts where it
            stopped.

    Raises:
        ValueError: If the sampler's batch size is not a multiple of ``micro_batch_size *
            accumulation``.
    """

    # What Accelerate reads from a batch sampler.
    drop_last = False

    def __init__(
        self,
        sampler: MixtureSampler,
        micro_batch_size: int,
        accumulation: int,
        *,
        num_steps: int,
        start_step: int = 0,
    ) -> None:
        if sampler.batch_size % (micro_batch_size * accumulation) != 0:
            raise ValueError(
                "the batch size must be a multiple of micro-batch size times accumulation, "
                f"but {sampler.batch_size} is no multiple of {micro_batch_size} x {accumulation}."
            )
        self.sampler = sampler
        self.batch_size = micro_batch_size
        self.num_steps = num_steps
        self.start_step = start_step

    def __len__(self) -> int:
        """Micro-batches over all ranks."""
        return max(0, self.num_steps - self.start_step) * (
            self.sampler.batch_size // self.batch_size
        )

    def __iter__(self) -> Iterator[list[int]]:
        """Sample ids of one micro-batch after the other; each step is planned when it begins."""
        for step in range(self.start_step, self.num_steps):
            plan = self.sampler.plan(step)
            ids = plan[np.argsort(self.sampler.lengths(plan), kind="stable")].tolist()
            for first in range(0, len(ids), self.batch_size):
                yield ids[first : first + self.batch_size]
