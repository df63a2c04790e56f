"""Validation loss of a task, read off the pass over its samples that a Trainer makes anyway.

The Trainer's own number is a mean over batches, and on several ranks it is off where a set does not
divide by them: a batch's loss is over the tokens of all ranks' batches, and the parts of samples
that only fill up the last batch are then left out (five samples on two ranks: 5.35, not 4.85).

Axes: b batch, t tokens.
"""

from contextlib import AbstractContextManager

import torch
from accelerate.state import GradientState
from torch import Tensor, nn

from dids.gradients.losses import NOT_SCORED
from dids.ranks import rank
from dids.training.domain_losses import DomainLosses


class TaskLosses:
    """Mean negative log-likelihood over the scored tokens of one evaluation set, of all ranks."""

    def __init__(self) -> None:
        self._losses = DomainLosses(1)

    def recording(
        self, model: nn.Module, labels_bt: Tensor | None, gradients: GradientState
    ) -> AbstractContextManager[None]:
        """Inside, the forward pass of an evaluation step counts.

        Args:
            model: As it is called.
            labels_bt: Of this rank's batch, -100 where not scored. None: nothing counts.
            gradients: What Accelerate knows of its loaders; only the last batch of one that
                does not divide by the ranks is filled up.
        """
        if labels_bt is None:
            return self._losses.recording(model, {}, None)
        if gradients.end_of_dataloader and gradients.remainder > 0:
            num_own = gradients.remainder - (rank() or 0) * len(labels_bt)
            labels_bt = labels_bt.clone()
            labels_bt[max(0, num_own) :] = NOT_SCORED
        domain_b = torch.zeros(len(labels_bt), dtype=torch.long)
        return self._losses.recording(model, {"labels": labels_bt}, domain_b)

    def mean(self) -> float | None:
        """In nats a scored token; None where no pass gave its logits. Every rank must ask."""
        return self._losses.means_since_last("task")[0]
