"""What every Trainer that follows a mixture shares: the sampler's loader, checkpoints, scalars."""

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState

from dids.data.domain_dataset import DomainCollator, DomainDataset
from dids.data.joined_row import LengthsCollator
from dids.errors import InputError
from dids.ranks import is_first_rank
from dids.sampling.batch_sampler import MixtureBatchSampler
from dids.sampling.sampler import MixtureSampler
from dids.training.checkpoints import (
    CHECKPOINT_PREFIX,
    keep_newest,
    read_state,
    refuse_damaged,
    write_state,
)
from dids.training.domain_losses import DomainLosses
from dids.training.run_arguments import RunArguments


def _outlive_sigterm(worker: int) -> None:
    """Leave SIGTERM to the process that trains: a cluster sends it to its workers, too.

    They end with that process, whatever becomes of it.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class MixtureCallback(TrainerCallback, ABC):
    """Feeds a Trainer from a mixture; subclasses say where the mixtures come from.

    It keeps its state in the checkpoints as ``dids_state.json`` and reads it before the first batch
    of a resumed run, whether the Trainer replays the batches before or starts behind them
    (``ignore_data_skip``). It is no ``ExportableState``, which a Trainer would make anew.

    Args:
        domain_names: In the order of their numbers.
    """

    refuses_bad_losses = False
    """Whether a loss that is no number ends the run, at the price of waiting for every batch."""
    takes_data = False
    """Whether it is to be given what there is to measure on: `take_data`."""

    def __init__(self, domain_names: list[str]) -> None:
        self.domain_names = domain_names
        self.losses = DomainLosses(len(domain_names))
        self.checkpoint: Path | None = None
        self._resumed_step: int | None = None
        self._has_stepped = False  # since it was resumed
        self._batches: MixtureBatchSampler | None = None

    @abstractmethod
    def sampler_for(self, args: RunArguments, dataset: Any) -> MixtureSampler:  # noqa: ANN401
        """The sampler of a run with these arguments, made at the first call."""

    @abstractmethod
    def domains_of(self, dataset: Any) -> DomainDataset:  # noqa: ANN401
        """The data set with the domain in its items."""

    @abstractmethod
    def state_dict(self, step: int) -> dict[str, Any]:
        """Everything that a resumed run needs besides the Trainer's own checkpoint; JSON-able."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""

    @property
    def reads_losses(self) -> bool:
        """Whether the domains' losses are looked at, logged or not."""
        return False

    @property
    def reads_gradients(self) -> bool:
        """Whether gradients of training steps are looked at: `collecting`."""
        return False

    def take_data(
        self,
        dataset: Any,  # noqa: ANN401
        tasks: Mapping[str, Any],
        collate: Callable[[list[Any]], Any],
    ) -> None:
        """Take what there is to measure on, as a Trainer has prepared it, before there is a loader.

        Args:
            dataset: The training set.
            tasks: The evaluation sets that have names.
            collate: Makes a batch of samples of either.
        """
        return

    def save_beside(self, checkpoint: Path) -> None:
        """Write what every rank keeps for itself into a checkpoint, before it counts."""
        return

    def scalars(self, step: int) -> dict[str, float]:
        """Named numbers for the Trainer's log besides the domains' losses."""
        return {}

    def shares(self, sampler: MixtureSampler, step: int) -> dict[str, float]:
        """Tokens so far and the mixture of the step just done, for the log."""
        mixture_k = sampler.log.mixture(max(0, step - 1))
        shares = {f"mixture/{d}": float(mixture_k[k]) for k, d in enumerate(self.domain_names)}
        return {"run/tokens": float(sampler.tokens(step)), **shares}

    def token_schedule(self) -> tuple[int, Callable[[int], float]] | None:
        """Nominal steps and progress by step, where the learning rate follows tokens."""
        return None

    def collecting(
        self, inputs: Mapping[str, Any], per_token: Callable[[], float]
    ) -> AbstractContextManager[None]:
        """Inside, a backward pass of training may be looked at."""
        return nullcontext()

    def loader(
        self,
        args: RunArguments,
        dataset: Any,  # noqa: ANN401
        collate_fn: Callable[[list[Any]], Any],
        *,
        with_domains: bool = False,
    ) -> DataLoader[Any]:
        """What ``get_train_dataloader`` is to hand to ``accelerator.prepare``.

        Args:
            args: The Trainer's; ``max_steps`` must be given.
            dataset: Map-style, prepared; its indices are the sampler's sample ids.
            collate_fn: The Trainer's data collator.
            with_domains: Whether batches have ``domain``, for `DomainLosses`; whoever trains must
                take it out of the model's inputs, and ``sample_lengths``, which one that takes data
                puts into batches that are one row of several samples.

        Raises:
            InputError: If the run has no length, or the data set is not that of the domains.
        """
        if args.max_steps <= 0:
            raise InputError(
                "training: max_steps is not given; a mixture has no epochs, so say how many steps "
                "the run shall have."
            )
        if self.takes_data:
            collate_fn = LengthsCollator(collate_fn)
        known = self.domains_of(dataset)  # refuses one whose samples are not those of the domains
        if with_domains:
            dataset, collate_fn = known, DomainCollator(collate_fn)
        self._batches = MixtureBatchSampler(
            self.sampler_for(args, dataset),
            micro_batch_size=args.train_batch_size,
            accumulation=args.gradient_accumulation_steps,
            num_steps=args.max_steps,
        )
        workers = args.dataloader_num_workers
        return DataLoader(
            dataset,
            batch_sampler=self._batches,
            collate_fn=collate_fn,
            num_workers=workers,
            pin_memory=args.dataloader_pin_memory and torch.cuda.is_available(),
            prefetch_factor=args.dataloader_prefetch_factor if workers else None,
            worker_init_fn=_outlive_sigterm if workers else None,
            # Its own: from the default generator each pass would take a number, after a resumed
            # run's random state was set, and dropout would differ.
            generator=torch.Generator().manual_seed(args.seed),
        )

    def complete(self, checkpoint: Path, step: int) -> None:
        """Write the state into a checkpoint that all else is in; every rank must ask.

        The losses are summed over ranks, so the file that completes it is written after all ranks'.
        """
        self.save_beside(checkpoint)
        losses = self.losses.state_dict()
        if is_first_rank():
            write_state(checkpoint, {**self.state_dict(step), "domain_losses": losses})

    def resume(self, checkpoint: Path) -> None:
        """Take the state that was saved with a checkpoint.

        Raises:
            InputError: If the checkpoint has none, or is damaged.
        """
        refuse_damaged(checkpoint)
        self.resume_from(read_state(checkpoint))

    def resume_from(self, state: Mapping[str, Any]) -> None:
        """Take a state that was saved with a checkpoint."""
        self.load_state_dict(state)
        if "domain_losses" in state:
            self.losses.load_state_dict(state["domain_losses"])
        self._resumed_step = state["step"]
        self._has_stepped = False

    @property
    def resumed_step(self) -> int:
        """Steps that were done where it goes on from; 0 from the beginning."""
        return self._resumed_step or 0

    def checkpoint_of(self, args: RunArguments, state: TrainerState) -> Path:
        """The checkpoint that a Trainer goes on from."""
        named = Path(str(args.output_dir)) / f"{CHECKPOINT_PREFIX}{state.global_step}"
        return named if self.checkpoint is None else self.checkpoint

    @property
    def is_resumed(self) -> bool:
        """Whether it has taken the state of a checkpoint."""
        return self._resumed_step is not None

    def on_train_begin(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up the state of the checkpoint that the Trainer goes on from, before any batch."""
        step = state.global_step
        if step > 0 and (self._resumed_step != step or self._has_stepped):
            self.resume(self.checkpoint_of(args, state))
        if self._batches is not None:
            self._batches.start_step = step if args.ignore_data_skip else 0
            self._batches.num_replayed = step

    def on_step_end(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """End the run where the domains cannot fill another step."""
        self._has_stepped = True
        # The same number as without a stop; after a resume without replay Trainer counts from 0.
        state.epoch = state.global_step / state.max_steps
        if self._batches is not None and not self._batches.sampler.has_step(state.global_step):
            control.should_training_stop = True
        return control

    def on_save(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Complete the checkpoint that the Trainer has just written."""
        checkpoint = Path(str(args.output_dir)) / f"{CHECKPOINT_PREFIX}{state.global_step}"
        self.complete(checkpoint, state.global_step)
        if state.is_world_process_zero:
            best = state.best_model_checkpoint
            keep_newest(
                checkpoint.parent, args.save_total_limit, but=None if best is None else Path(best)
            )
