"""Negative log-likelihood of tokens, with fewer tensors of the logits' size than PyTorch's.

On a small model with a large vocabulary those tensors are much of the pass. Rows that are not
scored (prompts, padding) cost nothing here but a zero.

Axes: n tokens, m scored ones of them, v vocabulary.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK_ENTRIES = 1 << 20
"""Logits that are worked on at once: they stay in the cache, and so does what they become."""
GPU_CHUNK_ENTRIES = 1 << 26
"""On a GPU, where a chunk is worth its launches and 256 MB of memory."""


def token_nll(logits_nv: Float[Tensor, "n v"], target_n: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Negative log-likelihood of each target, 0 where the target is negative.

    Args:
        logits_nv: Predictions in float32 or float64.
        target_n: Token ids; negative where a token is not scored.

    Returns:
        Nats.

    Example:
        >>> token_nll(torch.zeros(2, 8), torch.tensor([5, -100]))
        tensor([2.0794, 0.0000])
    """
    nll: Tensor = _TokenNll.apply(logits_nv, target_n)  # type: ignore[no-untyped-call]
    return nll


class _TokenNll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_nv: Tensor, target_n: Tensor) -> Tensor:  # noqa: ANN401
        scored_m = (target_n >= 0).nonzero().squeeze(1)
        picked_m = logits_nv[scored_m, target_n[scored_m]]
        total_m = torch.empty_like(picked_m)
        for rows in _chunks(len(scored_m), logits_nv):
            torch.logsumexp(logits_nv[scored_m[rows]], 1, out=total_m[rows])
        ctx.save_for_backward(logits_nv, target_n, scored_m, total_m)
        return logits_nv.new_zeros(len(target_n)).index_copy_(0, scored_m, total_m - picked_m)

    @staticmethod
    def backward(ctx: Any, nll_gradient_n: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        logits_nv, target_n, scored_m, total_m = ctx.saved_tensors
        gradient_nv = torch.zeros_like(logits_nv)
        for rows in _chunks(len(scored_m), logits_nv):
            chosen = scored_m[rows]
            scale_m1 = nll_gradient_n[chosen].unsqueeze(1)
            gradient = logits_nv[chosen].sub_(total_m[rows, None]).exp_().mul_(scale_m1)
            gradient.scatter_add_(1, target_n[chosen].unsqueeze(1), -scale_m1)
            gradient_nv[chosen] = gradient
        return gradient_nv, None


def _chunks(num_rows: int, logits_nv: Tensor) -> list[slice]:
    entries = GPU_CHUNK_ENTRIES if logits_nv.is_cuda else CHUNK_ENTRIES
    step = max(1, entries // logits_nv.shape[1])
    return [slice(start, start + step) for start in range(0, num_rows, step)]
