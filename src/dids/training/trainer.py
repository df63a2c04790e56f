"""The Hugging Face Trainer with a mixture that follows the run; a mixin, for any subclass of it."""

import math
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from transformers import Trainer

from dids.errors import InputError
from dids.gradients.losses import scored_counts
from dids.sampling.batch_sampler import MixtureBatchSampler
from dids.training.rounds import MixtureRounds
from dids.training.schedule import follow_tokens


class DidsMixin:
    """Draws batches from a mixture and reads the learning rate by tokens.

    Put it before a Trainer: ``class DidsTrainer(DidsMixin, Trainer)``. The data set must be
    map-style and its indices those of the sampler.

    Args:
        rounds: The callback that changes the mixture; it is added to the Trainer's.
    """

    def __init__(self, *args: Any, rounds: MixtureRounds, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rounds = rounds
        self.add_callback(rounds)  # type: ignore[attr-defined]
        self.first_step = 0

    def get_train_dataloader(self) -> DataLoader[Any]:
        """A loader whose batches are planned step by step, from the step of the resumed run."""
        args = self.args  # type: ignore[attr-defined]
        workers = args.dataloader_num_workers
        batches = MixtureBatchSampler(
            self.rounds.sampler,
            micro_batch_size=args.per_device_train_batch_size,
            accumulation=args.gradient_accumulation_steps,
            start_step=self.first_step,
            num_steps=args.max_steps,
        )
        loader: DataLoader[Any] = DataLoader(
            self.train_dataset,  # type: ignore[attr-defined]
            batch_sampler=batches,
            collate_fn=self.data_collator,  # type: ignore[attr-defined]
            num_workers=workers,
            pin_memory=args.dataloader_pin_memory and torch.cuda.is_available(),
            prefetch_factor=args.dataloader_prefetch_factor if workers else None,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)  # type: ignore[attr-defined]
        return prepared

    def create_scheduler(
        self, num_training_steps: int, optimizer: Optimizer | None = None
    ) -> LRScheduler:
        """The Trainer's own schedule, read by tokens instead of by steps."""
        nominal_steps = self.rounds.plan.nominal_steps
        scheduler = super().create_scheduler(nominal_steps, optimizer)  # type: ignore[misc]
        return follow_tokens(scheduler, self.rounds.progress, nominal_steps)

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """One micro-batch, as the Trainer does it; its gradients are added up by domain as well."""
        per_token = partial(self._loss_per_token, inputs, num_items_in_batch)
        with self.rounds.collecting(inputs, per_token):
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
        if not math.isfinite(loss.item()):
            step = self.state.global_step  # type: ignore[attr-defined]
            rate = self.args.learning_rate  # type: ignore[attr-defined]
            raise InputError(
                f"training: the loss turned {loss.item()} at step {step}; lower "
                "training.learning_rate "
                f"(now {rate}), or train in float32 or bfloat16."
            )
        return loss

    def _loss_per_token(
        self, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None
    ) -> float:
        """What the loss that is differentiated multiplies each scored token's by."""
        args, accelerator = self.args, self.accelerator  # type: ignore[attr-defined]
        scaler = accelerator.scaler
        factor = 1.0 if scaler is None else float(scaler.get_scale())
        if num_items_in_batch is None:  # the model takes the mean over its own micro-batch
            scored = int(scored_counts(inputs["labels"]).sum())
            return factor / max(1, scored) / int(args.gradient_accumulation_steps)
        if args.average_tokens_across_devices:
            factor *= accelerator.num_processes
        return factor / float(num_items_in_batch)


class DidsTrainer(DidsMixin, Trainer):
    """``transformers.Trainer`` with a mixture that follows the run."""
