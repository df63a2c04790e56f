"""The sampler's plans as micro-batches, for a PyTorch data loader in the main process."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64
from torch.utils.data import Sampler

from dids.sampling.sampler import MixtureSampler


class MixtureBatchSampler(Sampler[list[int]]):
    """Micro-batch by micro-batch, the samples of every optimizer step.

    With several ranks the micro-batches of a step follow each other, as Accelerate deals them out,
    so the samples of a step do not depend on the number of ranks. Within a step, samples of like
    length share a micro-batch: less padding, the same gradient. It ends after ``num_steps``, or
    with the last step that the domains can fill.

    Args:
        sampler: Plans the steps.
        micro_batch_size: Samples in one batch of the loader.
        accumulation: Micro-batches of one rank in one optimizer step.
        num_steps: Optimizer steps of the whole run: the last one is ``num_steps - 1``.
        start_step: The first step to yield; a run that resumes without replay starts where it
            stopped.
        rank: Whose micro-batches to yield, where nothing else (Accelerate does) deals them out.
        world_size: Number of ranks that they are dealt to; 1 yields them all.

    Raises:
        ValueError: If the sampler's batch size is not a multiple of ``micro_batch_size *
            accumulation * world_size``, or there is no such rank.
    """

    # What Accelerate reads from a batch sampler.
    drop_last = False

    num_replayed: int
    """Steps before this one are only counted through, by a trainer that replays a run and throws
    their batches away: they are not planned, and have sample 0 alone."""

    def __init__(
        self,
        sampler: MixtureSampler,
        micro_batch_size: int,
        accumulation: int,
        *,
        num_steps: int,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        numbers = {
            "micro_batch_size": micro_batch_size, "accumulation": accumulation,
            "world_size": world_size,
        }  # fmt: skip
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"{name} must be 1 or more, but it is {number}.")
        if start_step < 0:
            raise ValueError(f"start_step must be 0 or more, but it is {start_step}.")
        if sampler.batch_size % (micro_batch_size * accumulation * world_size) != 0:
            ranks = f" x {world_size} ranks" if world_size > 1 else ""
            raise ValueError(
                "the batch size must be a multiple of micro-batch size times accumulation, "
                f"but {sampler.batch_size} is no multiple of "
                f"{micro_batch_size} x {accumulation}{ranks}."
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be from 0 to {world_size - 1}, but it is {rank}.")
        self.sampler = sampler
        self.batch_size = micro_batch_size
        self.num_steps = num_steps
        self.start_step = start_step
        self.num_replayed = 0
        self.rank = rank
        self.world_size = world_size

    @property
    def batches_per_step(self) -> int:
        """Micro-batches that one optimizer step yields."""
        return self.sampler.batch_size // (self.batch_size * self.world_size)

    def __len__(self) -> int:
        """Micro-batches to come: over all ranks, or of one where a world size is given."""
        return max(0, self.num_steps - self.start_step) * self.batches_per_step

    def __iter__(self) -> Iterator[list[int]]:
        """Sample ids of one micro-batch after the other; each step is planned when it begins."""
        for ids_ab in self.steps():
            yield from ids_ab.tolist()

    def steps(self) -> Iterator[Int64[np.ndarray, "a b"]]:
        """Sample ids of one step after the other: a micro-batches of b samples."""
        shape = (self.batches_per_step, self.batch_size)
        for _ in range(self.start_step, min(self.num_replayed, self.num_steps)):
            yield np.zeros(shape, dtype=np.int64)
        first = max(self.start_step, self.num_replayed)
        for step in range(first, self.num_steps):
            if step > first and not self.sampler.has_step(step):
                return
            plan = in_batches(self.sampler, self.sampler.plan(step))
            yield plan.reshape(-1, self.world_size, self.batch_size)[:, self.rank]


def in_batches(sampler: MixtureSampler, plan_b: Int64[np.ndarray, " b"]) -> Int64[np.ndarray, " b"]:
    """The samples of a step in the order in which they are dealt to micro-batches: by length."""
    if sampler.equal_length is not None:
        return plan_b
    return np.asarray(plan_b[np.argsort(sampler.lengths(plan_b), kind="stable")])
