"""Negative log-likelihood of tokens, with fewer tensors of the logits' size than PyTorch's.

On a small model with a large vocabulary those tensors are much of the pass. Rows that are not
scored (prompts, padding) cost nothing here but a zero.

Axes: n tokens, r rows of a chunk of them, v vocabulary.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK_ENTRIES = 1 << 18
"""Logits that are worked on at once: they stay in the cache, and so does what they become."""
GPU_CHUNK_ENTRIES = 1 << 26
"""On a GPU, where a chunk is worth its launches and 256 MB of memory."""
_FEW = 0.9
"""Below this share of scored rows a chunk's are taken out, worked on and put back."""


def token_nll(
    logits_nv: Float[Tensor, "n v"], target_n: Int[Tensor, " n"], *, overwrites: bool = False
) -> Float[Tensor, " n"]:
    """Negative log-likelihood of each target, 0 where the target is negative.

    Args:
        logits_nv: Predictions in float32 or float64.
        target_n: Token ids; negative where a token is not scored.
        overwrites: Whether the backward pass may leave its gradient where the logits were: for
            logits that nobody looks at again, autograd included.

    Returns:
        Nats.

    Example:
        >>> token_nll(torch.zeros(2, 8), torch.tensor([5, -100]))
        tensor([2.0794, 0.0000])
    """
    nll: Tensor = _TokenNll.apply(logits_nv, target_n, overwrites)  # type: ignore[no-untyped-call]
    return nll


class _TokenNll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_nv: Tensor, target_n: Tensor, overwrites: bool) -> Tensor:  # noqa: ANN401
        is_scored_n, target_n1 = target_n >= 0, target_n.clamp(min=0).unsqueeze(1)
        total_n = logits_nv.new_zeros(len(target_n))
        for rows, few in _chunks(is_scored_n, logits_nv):
            chosen = rows if few is None else few
            total_n[chosen] = torch.logsumexp(logits_nv[chosen], 1)
        ctx.save_for_backward(logits_nv, is_scored_n, target_n1, total_n)
        ctx.overwrites = overwrites
        nll_n = total_n - logits_nv.gather(1, target_n1).squeeze(1)
        return torch.where(is_scored_n, nll_n, 0.0)

    @staticmethod
    def backward(ctx: Any, nll_gradient_n: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        logits_nv, is_scored_n, target_n1, total_n = ctx.saved_tensors
        gradient_nv = logits_nv if ctx.overwrites else torch.empty_like(logits_nv)
        total_n1, scale_n1 = total_n.unsqueeze(1), nll_gradient_n.unsqueeze(1)
        for rows, few in _chunks(is_scored_n, logits_nv):
            chosen = rows if few is None else few
            given_rv, place_rv = logits_nv[chosen], gradient_nv[rows]
            found_rv = torch.sub(
                given_rv, total_n1[chosen], out=place_rv if few is None else given_rv
            )
            found_rv.exp_().mul_(scale_n1[chosen])
            found_rv.scatter_add_(1, target_n1[chosen], -scale_n1[chosen])
            if few is not None:
                place_rv.zero_()
                gradient_nv[few] = found_rv
            elif logits_nv.is_cuda or not is_scored_n[rows].all():
                # Whatever they were: what a padded row holds need not be a number.
                place_rv.masked_fill_(~is_scored_n[rows].unsqueeze(1), 0.0)
        return gradient_nv, None, None


def _chunks(is_scored_n: Tensor, logits_nv: Tensor) -> Iterator[tuple[slice, Tensor | None]]:
    """All rows, by as many as the cache holds, and which of them are scored where those are few.

    On a GPU nobody asks which they are: it would have to finish its work first.
    """
    num_rows, num_entries = logits_nv.shape
    entries = GPU_CHUNK_ENTRIES if logits_nv.is_cuda else CHUNK_ENTRIES
    step = max(1, entries // num_entries)
    for start in range(0, num_rows, step):
        rows = slice(start, min(start + step, num_rows))
        few = None
        if not logits_nv.is_cuda:
            scored = is_scored_n[rows].nonzero().squeeze(1)
            if len(scored) < _FEW * (rows.stop - start):
                few = scored + start
        yield rows, few
