"""A model in mid-training that can be copied and trained on, one plain step after the other.

Axis letters: b samples of a batch, t tasks.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Integer
from torch import Tensor, nn
from torch.optim import Optimizer

from dids.evaluation.batches import Collate, losses_by_length
from dids.gradients.compute_features import SampleSource
from dids.gradients.losses import sample_losses, scored_counts

MAX_NORM = 1.0
"""What ``transformers.TrainingArguments.max_grad_norm`` is when nobody sets it."""
_READ_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model with its optimizer.

    Attributes:
        model: On its device.
        optimizer: Of its parameters.
        max_norm: Gradients are clipped to this length; 0 for not at all.
        is_bf16: Whether passes run under bfloat16 autocast.
    """

    model: nn.Module
    optimizer: Optimizer
    max_norm: float = MAX_NORM
    is_bf16: bool = False

    def copied(self) -> "Checkpoint":
        """Another one in the same state."""
        known: dict[int, Any] = {}  # who has which
        model = copy.deepcopy(self.model, known)
        # An optimizer's own copy has what PyTorch's have alone, and bitsandbytes' have more.
        optimizer = object.__new__(type(self.optimizer))
        optimizer.__dict__.update(copy.deepcopy(self.optimizer.__dict__, known))
        return Checkpoint(model, optimizer, self.max_norm, self.is_bf16)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, batch: Mapping[str, Tensor]) -> None:
        """One optimizer step on the mean over the scored tokens, as the Trainer makes it."""
        on_device = self._moved(batch)
        scored_b = scored_counts(on_device["labels"])
        with self._precision():
            losses_b = sample_losses(self.model, on_device, is_last_look=True)
            loss = (losses_b * scored_b).sum() / scored_b.sum()
        torch.autograd.backward(loss)
        if self.max_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def mean_losses(
        self, tasks: Sequence["Samples"], chosen: Sequence[Integer[np.ndarray, " n"]]
    ) -> Float64[np.ndarray, " t"]:
        """Mean loss on the chosen items of each task, in nats a token."""
        pairs = zip(tasks, chosen, strict=True)
        return np.array([self._mean_loss(task, items) for task, items in pairs])

    def _mean_loss(self, task: "Samples", items: Integer[np.ndarray, " n"]) -> float:
        with self._precision():
            losses_n, _ = losses_by_length(
                self.model,
                lambda places: task.items(items[places]),
                task.dataset.lengths[items],
                task.collate,
                _READ_AT_ONCE,
            )
        return float(losses_n.mean())

    def _moved(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self._device) for name, tensor in batch.items()}

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self.is_bf16)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


@dataclass(frozen=True, eq=False)
class Samples:
    """A data set and how its samples become batches."""

    dataset: SampleSource
    collate: Collate

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.dataset.lengths)

    def items(self, chosen: Integer[np.ndarray, " n"]) -> list[Mapping[str, Any]]:
        """Samples by number."""
        return [self.dataset[number] for number in chosen.tolist()]

    def batch(self, chosen: Integer[np.ndarray, " n"]) -> dict[str, Tensor]:
        """Samples by number, padded."""
        return dict(self.collate(self.items(chosen)))
