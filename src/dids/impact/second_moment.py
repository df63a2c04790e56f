"""The second moments by whose roots an optimizer divides, in whatever form it keeps them.

The state's own names tell the forms apart, so that nothing needs to be imported for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

DEFAULT_EPSILON = 1e-8


def second_moment(
    group: Mapping[str, Any], state: Mapping[str, Any], shape: Sequence[int]
) -> Tensor | None:
    """What the mean of squared gradients is taken to be, bias-corrected.

    - Adam and what descends from it (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1); AMSGrad's is
      the largest so far. In 8 bits those of bitsandbytes (Dettmers et al. 2022, arXiv:2110.02861,
      section 2: blocks of entries, each a number of a table times the block's largest) and of
      torchao.
    - RMSprop's; of a centred one the mean gradient's square is taken off.
    - Adagrad's sum of all squares (Duchi et al. 2011).
    - Adafactor's in Transformers: rows' means times columns' means over the mean of all (Shazeer &
      Stern 2018, arXiv:1804.04235, algorithm 4).

    Args:
        group: Of the optimizer: what it is told about the parameter.
        state: What it keeps of it.
        shape: The parameter's.

    Returns:
        As the parameter. None where nothing of this shape is kept in these forms: SGD, Muon,
        optimizers that divide in a space of their own, and before the first step.
    """
    moment = _kept(group, state)
    return moment if moment is not None and tuple(moment.shape) == tuple(shape) else None


def epsilon_of(group: Mapping[str, Any]) -> float:
    """What the root of the second moment is made larger by; Adam's usual where it is not one."""
    epsilon = group.get("eps", DEFAULT_EPSILON)
    # Adafactor's two are of squares and of steps.
    return float(epsilon) if isinstance(epsilon, int | float) else DEFAULT_EPSILON


def _kept(group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor | None:
    if "scale_parameter" in group:
        return _of_adafactor(state)
    if "betas" in group and "state2" in state:
        return _corrected(_in_full(state), group, state)
    if "betas" in group and "exp_avg_sq" in state:
        moment: Tensor = state.get("max_exp_avg_sq", state["exp_avg_sq"]).detach()
        if type(moment).__module__.startswith("torchao."):
            moment = moment.dequantize()
        return _corrected(moment, group, state)
    if "square_avg" in state and "alpha" in group:
        square: Tensor = state["square_avg"].detach()
        mean = state.get("grad_avg")
        return square if mean is None else (square - mean.detach().square()).clamp(min=0.0)
    if "sum" in state and "lr_decay" in group:
        total: Tensor = state["sum"].detach()
        return total
    return None


def _corrected(moment: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor:
    """Without what zero at the beginning did, where the optimizer says how many steps it took."""
    step = state.get("step", group.get("step", group.get("k")))  # Apex's, and schedule-free Adam's
    if step is None:
        return moment
    corrected: Tensor = moment / (1.0 - group["betas"][1] ** float(step))
    return corrected


def _in_full(state: Mapping[str, Any]) -> Tensor:
    """That of bitsandbytes: 32 bits, or 8 in blocks."""
    kept: Tensor = state["state2"].detach()
    if kept.dtype != torch.uint8:
        return kept
    largest_b = state["absmax2"]
    size = 1
    while -(-kept.numel() // size) > len(largest_b):  # blocks have a power of two of entries
        size *= 2
    number_n = state["qmap2"][kept.flatten().long()]
    scale_n = largest_b.repeat_interleave(size)[: kept.numel()]
    found: Tensor = (number_n * scale_n).view(kept.shape)
    return found


def _of_adafactor(state: Mapping[str, Any]) -> Tensor | None:
    if "exp_avg_sq_row" not in state:
        whole: Tensor | None = state.get("exp_avg_sq")
        return None if whole is None else whole.detach()
    row, column = state["exp_avg_sq_row"].detach(), state["exp_avg_sq_col"].detach()
    share = row / row.mean(dim=-1, keepdim=True)
    found: Tensor = share.unsqueeze(-1) * column.unsqueeze(-2)
    return found
