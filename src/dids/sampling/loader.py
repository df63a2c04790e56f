"""A PyTorch data loader that can change its mixture and says where it stands.

For loops of one's own and for Lightning, which saves and restores any loader that has
``state_dict`` and ``load_state_dict``. The Hugging Face Trainer has its own way (`dids.training`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from dids.sampling.apply_lag import apply_lag
from dids.sampling.batch_sampler import MixtureBatchSampler
from dids.sampling.sampler import MixtureSampler


@dataclass
class _Count:
    """Batches handed out since ``start_step``; a ``DataLoader`` is slow to set attributes of."""

    num_read: int = 0


class MixtureLoader(DataLoader[Any]):
    """Batches of a run, step by step, from a mixture that may change on the way.

    Args:
        dataset: Map-style; its indices are the sampler's sample ids.
        sampler: Plans the steps.
        micro_batch_size: Samples of one batch.
        accumulation: Batches of one rank in one optimizer step.
        num_steps: Optimizer steps of the whole run.
        rank: Of this process; every rank reads its own batches of the same steps.
        world_size: Number of processes.
        num_workers: Processes that read ahead; 0 reads in this one.
        prefetch_factor: Batches that each worker reads ahead; None is 2.
        collate_fn: Makes a batch of what the data set gives. None: PyTorch's.
        **options: Whatever else ``DataLoader`` takes.

    Example:
        >>> sampler = MixtureSampler(
        ...     [range(6), range(6, 8)], 1, batch_size=4, seed=0, mixture=[0.5, 0.5])
        >>> loader = MixtureLoader(torch.arange(8), sampler, micro_batch_size=2, accumulation=2,
        ...                        num_steps=3)
        >>> batches = [batch for batch in loader]
        >>> len(batches), loader.state_dict()["step"]
        (6, 3)
    """

    def __init__(
        self,
        dataset: Any,  # noqa: ANN401
        sampler: MixtureSampler,
        *,
        micro_batch_size: int,
        num_steps: int,
        accumulation: int = 1,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        **options: Any,
    ) -> None:
        batches = MixtureBatchSampler(
            sampler,
            micro_batch_size,
            accumulation,
            num_steps=num_steps,
            rank=rank,
            world_size=world_size,
        )
        if batches.batches_per_step != accumulation:
            raise ValueError(
                f"the sampler's batch size must be {micro_batch_size} x {accumulation} x "
                f"{world_size} (micro-batch, accumulation, ranks), but it is {sampler.batch_size}."
            )
        super().__init__(
            dataset,
            batch_sampler=batches,
            collate_fn=collate_fn,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor if num_workers else None,
            # Its own, or every pass would take a number from the generator that dropout uses.
            generator=torch.Generator().manual_seed(sampler.seed % 2**63),
            **options,
        )
        self._batches = batches
        self._lag = apply_lag(num_workers, prefetch_factor, accumulation)
        self._count = _Count()

    @property
    def step(self) -> int:
        """Optimizer steps whose batches have all been handed out."""
        return self._batches.start_step + self._count.num_read // self._batches.batches_per_step

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches from the present step to the end of the run."""
        self._batches.start_step, self._count = self.step, _Count()
        count = self._count
        batches = self._batches_read_here() if self.num_workers == 0 else super().__iter__()
        for batch in batches:
            count.num_read += 1
            yield batch

    def _batches_read_here(self) -> Iterator[Any]:
        """What ``DataLoader`` does without workers, in less time.

        A data set with ``batches(ids_ab)`` reads the micro-batches of a step together.
        """
        read = getattr(self.dataset, "__getitems__", None)
        if read is None or self.pin_memory:
            yield from super().__iter__()
        elif hasattr(self.dataset, "batches"):
            for ids_ab in self._batches.steps():
                yield from self.dataset.batches(ids_ab)
        else:
            for ids in self._batches:
                yield self.collate_fn(read(ids))

    def set_mixture(self, probabilities: Sequence[float] | np.ndarray) -> int:
        """Let a mixture hold as soon as no worker can have read past it.

        Returns:
            The first step with this mixture: the present one plus the apply lag, the same for any
            timing of the workers.
        """
        start_step = self.step + self._lag
        self._batches.sampler.set_mixture(probabilities, start_step)
        return start_step

    def state_dict(self) -> dict[str, Any]:
        """What a later process needs to go on after the steps done so far; plain JSON values."""
        return self._batches.sampler.state_dict(self.step)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken, with any number of workers and ranks."""
        self._batches.sampler.load_state_dict(state)
        self._batches.start_step, self._count = int(state["step"]), _Count()
