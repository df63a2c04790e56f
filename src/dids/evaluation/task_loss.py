"""Loss on a task: the mean over its samples of each one's mean loss over scored tokens.

Every sample counts the same, however long its completion is.
"""

import math
from dataclasses import dataclass

import numpy as np
from torch import nn

from dids.data.dataset import TokenDataset
from dids.data.token_store import TokenStore
from dids.evaluation.batches import Collate, losses_by_length


@dataclass(frozen=True)
class TaskLoss:
    """Mean loss of a task's samples."""

    loss: float
    # nats a scored token
    standard_error: float
    # of the mean over samples; 0 for a single sample
    num_samples: int
    # those with a scored token


def task_loss(
    model: nn.Module, samples: TokenDataset | TokenStore, collate: Collate, *, batch_size: int
) -> TaskLoss | None:
    """The loss of a model on a task.

    Each sample's loss is computed by itself, so the result does not depend on ``batch_size`` beyond
    rounding. Samples with nothing to score are left out.

    Args:
        model: A causal language model, on its device.
        samples: The task's samples.
        collate: Pads items to a batch.
        batch_size: Samples in one forward pass.

    Returns:
        The mean and its standard error, or None if no sample has a scored token, as in a task that
        is there to generate from.
    """
    dataset = TokenDataset([samples]) if isinstance(samples, TokenStore) else samples
    losses_n, scored_n = losses_by_length(
        model, dataset.__getitems__, dataset.lengths, collate, batch_size
    )
    return mean_loss(losses_n[scored_n > 0])


def mean_loss(losses_n: np.ndarray) -> TaskLoss | None:
    """The mean of some losses with its standard error.

    Args:
        losses_n: One loss a sample.

    Returns:
        The mean, or None if there is no loss.

    Example:
        >>> mean_loss(np.array([1.0, 3.0]))
        TaskLoss(loss=2.0, standard_error=1.0, num_samples=2)
    """
    count = len(losses_n)
    if count == 0:
        return None
    spread = float(np.std(losses_n, ddof=1)) if count > 1 else 0.0
    return TaskLoss(float(np.mean(losses_n)), spread / math.sqrt(count), count)
