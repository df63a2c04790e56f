"""How far gradient clipping shortens the steps on a domain.

Trainers scale a batch's gradient down to a greatest norm (Pascanu et al. 2013, arXiv:1211.5063;
``max_grad_norm``, 1 unless somebody sets it). Domains with long gradients are held back by it, and
an estimate that takes their length for an effect is wrong by as much.

Axis letters: n samples of a domain, d dimensions.
"""

import math

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor


def clipped_share(
    row_nd: Float[Tensor, "n d"],
    weight_n: Float64[np.ndarray, " n"],
    *,
    batch_size: int,
    max_norm: float,
) -> float:
    """What clipping leaves of the gradient of a batch from one domain, from 0 to 1.

    The squared norm of a batch's gradient is that of the mean, and the variance of a sample's over
    the batch size.

    Args:
        row_nd: Gradients of some samples: all entries, or features of them.
        weight_n: What each weighs in the mean, for instance its scored tokens.
        batch_size: Samples of a step.
        max_norm: What gradients are clipped to.

    Raises:
        ValueError: If gradients are no numbers, or nothing weighs anything.

    Example:
        >>> import torch
        >>> clipped_share(torch.full((2, 4), 2.0), np.ones(2), batch_size=16, max_norm=1.0)
        0.25
    """
    share_n = weight_n / weight_n.mean()
    gram_nn = (row_nd @ row_nd.T).double().cpu().numpy() * np.outer(share_n, share_n)
    num_samples = len(row_nd)
    raw, mean_square = float(np.trace(gram_nn)) / num_samples, float(gram_nn.mean())
    # The squared mean of n samples is too long by a sample's variance over n.
    variance = (raw - mean_square) * num_samples / max(1, num_samples - 1)
    if not math.isfinite(mean_square):
        raise ValueError("gradients and weights must be numbers, and weights not all zero.")
    norm = math.sqrt(max(0.0, mean_square - variance / num_samples + variance / batch_size))
    return min(1.0, max_norm / norm) if norm > 0.0 else 1.0
