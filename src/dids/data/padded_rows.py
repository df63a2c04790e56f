"""Rows that are padded at their beginning, turned to rows that are padded at their end.

Axes: b batch, t tokens.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def padded_at_the_end(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same samples, each from its row's first place on.

    Args:
        rows: All ``[b, t]``; without ``attention_mask`` they stay as they are.
    """
    mask_bt = rows.get("attention_mask")
    if mask_bt is None or bool((mask_bt[:, :1] != 0).all()):
        return dict(rows)
    first_b1 = (mask_bt != 0).int().argmax(1, keepdim=True)
    place_t = torch.arange(mask_bt.shape[1], device=mask_bt.device)
    source_bt = (place_t + first_b1) % mask_bt.shape[1]
    return {name: row_bt.gather(1, source_bt.to(row_bt.device)) for name, row_bt in rows.items()}
