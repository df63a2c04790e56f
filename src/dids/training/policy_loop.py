"""A policy by its name in a loop of one's own, Accelerate's or a bare one.

What a Trainer tells its callbacks, the loop tells `PolicyMixture`: which batch runs, when a step is
done, where a checkpoint is.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate.state import is_initialized
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState

from dids.data.domain_dataset import DOMAIN
from dids.data.joined_row import LENGTHS
from dids.errors import InputError
from dids.gradients.losses import mean_per_token
from dids.ranks import num_ranks
from dids.training.policy_mixture import PolicyMixture
from dids.training.trainer_measuring import check_at_least


@dataclass
class _Arguments:
    """What a Trainer's arguments would say."""

    max_steps: int
    train_batch_size: int
    gradient_accumulation_steps: int
    dataloader_num_workers: int
    dataloader_prefetch_factor: int | None
    seed: int
    output_dir: str = "."
    dataloader_pin_memory: bool = True
    ignore_data_skip: bool = True
    save_total_limit: int | None = None
    data_seed: int | None = None
    deepspeed: Any = None
    world_size: int = field(default_factory=num_ranks)


class PolicyLoop:
    """Batches whose mixture a policy makes from what is measured in the loop that trains on them.

    Args:
        mixture: What makes the mixture.
        dataset: The training set, map-style; the mixture's domains lie one behind the other.
        tasks: Validation samples of each task, map-style: keep what is tested on apart.
        collate: Makes a batch of samples of either: ``input_ids``, ``labels`` (-100 where a token
            is not scored), ``attention_mask``.
        micro_batch_size: Samples of a batch of one process.
        num_steps: Optimizer steps of the run.
        accumulation: Batches of one optimizer step.
        num_workers: Of the loader.
        prefetch_factor: Of the loader's workers.
        seed: Of the samples' order, where the mixture has none.

    Attributes:
        loader: Gives the batches; ``accelerator.prepare`` it.

    Raises:
        InputError: If a number is none that can be, or the samples cannot be measured on.
    """

    loader: DataLoader[Any]

    def __init__(
        self,
        mixture: PolicyMixture,
        dataset: Any,  # noqa: ANN401
        tasks: Mapping[str, Any],
        collate: Callable[[list[Any]], Any],
        *,
        micro_batch_size: int,
        num_steps: int,
        accumulation: int = 1,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        seed: int = 0,
    ) -> None:
        check_at_least(
            1, micro_batch_size=micro_batch_size, num_steps=num_steps, accumulation=accumulation
        )
        self.mixture = mixture
        self._arguments = _Arguments(
            num_steps, micro_batch_size, accumulation, num_workers, prefetch_factor, seed
        )
        self._state = TrainerState(max_steps=num_steps)
        self._control = TrainerControl()
        self._num_batches = 0
        self._trained: tuple[nn.Module, Optimizer] | None = None
        mixture.take_data(dataset, tasks, collate)
        self.loader = mixture.loader(self._arguments, dataset, collate, with_domains=True)

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self._state.global_step)

    def begin(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Measure for the first mixture, or go on where the loop was loaded; then ask the loader.

        Args:
            model: That is trained, prepared or not.
            optimizer: Its own, prepared or not.

        Raises:
            InputError: If batches have been read before, or several processes read the same ones.
        """
        if self.mixture.sampler.num_planned_steps > self.step:
            raise InputError(
                "the loader was read before begin(model, optimizer), which measures for the first "
                "batch; call it first."
            )
        if num_ranks() > 1 and not is_initialized():
            raise InputError(
                "each of several processes needs batches of its own, and the loop's loader deals "
                "them out through Accelerate: accelerator.prepare(model, optimizer, loop.loader)."
            )
        if isinstance(model, DistributedDataParallel):
            model = model.module
        self._trained = (model, optimizer)
        self._control = TrainerControl()
        self.mixture.on_train_begin(
            self._arguments, self._state, self._control, model=model, optimizer=optimizer
        )

    @contextmanager
    def collecting(
        self, batch: MutableMapping[str, Any], loss_per_token: float | None = None
    ) -> Iterator[None]:
        """Inside, the backward pass of one batch of the loader is read.

        Args:
            batch: As the loader gave it; what the loop put into it is taken out.
            loss_per_token: What the loss that runs backward multiplies a scored token's by. None:
                it is a mean over the batch's scored tokens, and divided by ``accumulation``.

        Raises:
            InputError: If the step has had its batches.
        """
        model, _ = self._begun()
        if self._num_batches == self._arguments.gradient_accumulation_steps:
            raise InputError(
                f"a step has {self._num_batches} batches, and end_step() was not called after "
                "them: call it behind optimizer.step()."
            )
        seen = dict(batch)
        domain_b: Tensor | None = batch.pop(DOMAIN, None)
        batch.pop(LENGTHS, None)
        if self._num_batches == 0:
            self.mixture.on_step_begin(self._arguments, self._state, self._control)
        self._num_batches += 1

        def per_token() -> float:
            if loss_per_token is not None:
                return loss_per_token
            accumulation = self._arguments.gradient_accumulation_steps
            return mean_per_token(batch["labels"]) / accumulation

        with (
            self.mixture.collecting(seen, per_token),
            self.mixture.losses.recording(model, batch, domain_b),
        ):
            yield

    def end_step(self) -> None:
        """Measure where a round ends; call it after each step of the optimizer.

        Raises:
            InputError: If the step has not had all its batches.
        """
        model, optimizer = self._begun()
        accumulation = self._arguments.gradient_accumulation_steps
        if self._num_batches != accumulation:
            raise InputError(
                f"end_step() was called after {self._num_batches} of {accumulation} batches; each "
                "of them must run backward inside of collecting(batch)."
            )
        self._num_batches = 0
        self._state.global_step += 1
        self.mixture.on_step_end(
            self._arguments, self._state, self._control, model=model, optimizer=optimizer
        )
        if self.step == self._arguments.max_steps:
            self.mixture.on_train_end(self._arguments, self._state, self._control)

    def save(self, folder: Path | str) -> None:
        """Complete a checkpoint of one's own, between two steps; every rank must ask.

        Args:
            folder: Where model and optimizer have been saved; it counts once this is written.

        Raises:
            InputError: Within a step.
        """
        if self._num_batches:
            raise InputError("save() was called within a step; call it behind end_step().")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.mixture.complete(folder, self.step)

    def load(self, folder: Path | str) -> None:
        """Go on where ``save`` was called, on any number of ranks; before ``begin``.

        Raises:
            InputError: If the checkpoint was not written to its end, or is damaged.
        """
        self.mixture.checkpoint = Path(folder)
        self.mixture.resume(Path(folder))
        self._state.global_step = self.mixture.resumed_step

    def _begun(self) -> tuple[nn.Module, Optimizer]:
        if self._trained is None:
            raise InputError("the loop has not begun: call begin(model, optimizer) before it.")
        return self._trained
