"""A plain training loop, as the Trainer does it: token means, AdamW, clipped gradients.

Axis letters: t tasks.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dids.data.dataset import PaddingCollator, TokenDataset
from dids.gradients.losses import sample_losses, scored_counts
from dids.gradients.model_state import evaluation_mode

MAX_NORM = 1.0
"""What ``transformers.TrainingArguments.max_grad_norm`` is when nobody sets it."""
Batch = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model in mid-training, with its optimizer."""

    model: nn.Module
    optimizer: torch.optim.AdamW

    def copied(self) -> "Checkpoint":
        """Another one in the same state."""
        model = copy.deepcopy(self.model)
        optimizer = new_optimizer(model, self.learning_rate)
        optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        return Checkpoint(model, optimizer)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, batch: Batch) -> None:
        """One optimizer step."""
        scored_b = scored_counts(batch["labels"])
        loss = (sample_losses(self.model, batch) * scored_b).sum() / scored_b.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()


def new_optimizer(model: nn.Module, learning_rate: float) -> torch.optim.AdamW:
    """AdamW as the Trainer sets it up."""
    return torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)


@dataclass(frozen=True, eq=False)
class Samples:
    """A data set and how its samples become batches."""

    dataset: TokenDataset
    collate: PaddingCollator

    def batch(self, chosen: np.ndarray) -> Batch:
        """Samples by number, padded."""
        return self.collate(self.dataset.__getitems__(chosen.tolist()))

    def batches(self, chosen: np.ndarray, size: int) -> Iterator[Batch]:
        """Samples by number, those of like length together."""
        ordered = chosen[np.argsort(self.dataset.lengths[chosen], kind="stable")]
        return (self.batch(ordered[i : i + size]) for i in range(0, len(ordered), size))


def mean_losses(
    model: nn.Module, tasks: Sequence[Samples], chosen: Sequence[np.ndarray]
) -> np.ndarray:
    """Mean loss on the chosen items of each task, in nats a token; shape [t]."""
    with evaluation_mode(model), torch.no_grad():
        return np.array(
            [
                torch.cat([sample_losses(model, b) for b in task.batches(items, 64)]).mean().item()
                for task, items in zip(tasks, chosen, strict=True)
            ]
        )
