"""A model in mid-training that can be copied and trained on, one plain step after the other.

Axis letters: b samples of a batch, t tasks.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Integer
from torch import Tensor, nn
from torch.optim import Optimizer

from dids.gradients.compute_features import Collate, SampleSource
from dids.gradients.losses import sample_losses, scored_counts
from dids.gradients.model_state import evaluation_mode

MAX_NORM = 1.0
"""What ``transformers.TrainingArguments.max_grad_norm`` is when nobody sets it."""


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
        model, optimizer = copy.deepcopy((self.model, self.optimizer))  # keeps who has which
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
            loss = (sample_losses(self.model, on_device) * scored_b).sum() / scored_b.sum()
        torch.autograd.backward(loss)
        if self.max_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def mean_losses(
        self, tasks: Sequence["Samples"], chosen: Sequence[Integer[np.ndarray, " n"]]
    ) -> Float64[np.ndarray, " t"]:
        """Mean loss on the chosen items of each task, in nats a token."""
        with evaluation_mode(self.model), torch.no_grad(), self._precision():
            return np.array(
                [
                    torch.cat(
                        [
                            sample_losses(self.model, self._moved(batch)).float()
                            for batch in task.batches(items, 64)
                        ]
                    )
                    .mean()
                    .item()
                    for task, items in zip(tasks, chosen, strict=True)
                ]
            )

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

    def batch(self, chosen: Integer[np.ndarray, " n"]) -> dict[str, Tensor]:
        """Samples by number, padded."""
        return dict(self.collate([self.dataset[number] for number in chosen.tolist()]))

    def batches(self, chosen: Integer[np.ndarray, " n"], size: int) -> Iterator[dict[str, Tensor]]:
        """Samples by number, those of like length together."""
        ordered = chosen[np.argsort(self.dataset.lengths[chosen], kind="stable")]
        return (self.batch(ordered[i : i + size]) for i in range(0, len(ordered), size))
