"""Sequences in batches of like length, their losses back in the order they came.

Axes: b samples of a batch, t tokens, n all samples.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor, nn

from dids.gradients.losses import NOT_SCORED, sample_losses
from dids.gradients.model_state import evaluation_mode

Collate = Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]]
"""Items to a padded batch, as `dids.data.dataset.PaddingCollator` makes it."""


def losses_by_length(
    model: nn.Module,
    read: Callable[[Sequence[int]], Sequence[Mapping[str, Any]]],
    lengths_n: Sequence[int] | np.ndarray,
    collate: Collate,
    batch_size: int,
) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Loss and number of scored tokens of every sample, without gradients.

    The longest come first, so that memory runs out in the first batch or never.

    Args:
        model: A causal language model; in the mode it was in when this returns.
        read: Gives the items of some indices.
        lengths_n: Tokens of every sample.
        collate: Pads items to a batch.
        batch_size: Samples in one forward pass.

    Returns:
        Mean nats a scored token (0 where nothing is scored), and the scored tokens.
    """
    device = next(model.parameters()).device
    order = np.argsort(-np.asarray(lengths_n, dtype=np.int64), kind="stable")
    losses_n = np.zeros(len(order))
    scored_n = np.zeros(len(order), dtype=np.int64)
    with evaluation_mode(model), torch.inference_mode():
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = collate(read(chosen.tolist()))
            on_device = {name: tensor.to(device) for name, tensor in batch.items()}
            losses_n[chosen] = sample_losses(model, on_device).double().cpu().numpy()
            # The first token has nothing before it to be predicted from.
            scored_n[chosen] = (batch["labels"][:, 1:] != NOT_SCORED).sum(1).numpy()
    return losses_n, scored_n
