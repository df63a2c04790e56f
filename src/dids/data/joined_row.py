"""Samples that a collator has joined to one row, which saves padding, and how to tell them apart.

So do TRL's ``padding_free`` and ``DataCollatorWithFlattening`` of Transformers.

Axes: b samples, t tokens of a sample, n tokens of the row.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

LENGTHS = "sample_lengths"
"""The key, in batches of one row, of how many tokens each sample has: a list of whole numbers."""


class LengthsCollator:
    """Collates as another collator does and says how long samples are that it joins to one row.

    Args:
        collate: Makes a batch of items.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, items: list[Any]) -> Any:  # noqa: ANN401
        """The batch, with ``sample_lengths`` where it is one row of several samples."""
        lengths = token_counts(items)  # a collator may pop what it collates
        batch = self.collate(items)
        if is_one_row(batch, lengths):
            batch[LENGTHS] = lengths
        return batch


def token_counts(items: Sequence[Mapping[str, Any]]) -> list[int]:
    """Tokens of each item; 0 where it has no token ids before it is collated."""
    return [len(item.get("input_ids", ())) for item in items]


def is_one_row(batch: Mapping[str, Any], lengths: Sequence[int]) -> bool:
    """Whether a batch has several samples, of these lengths, joined to one row."""
    rows = batch.get("input_ids")
    return rows is not None and len(rows) == 1 < len(lengths) and sum(lengths) > 0


def cut_apart(
    row: Shaped[Tensor, "n ..."], lengths: Sequence[int], *, fill: float = 0
) -> Shaped[Tensor, "b t ..."]:
    """The samples of a row, padded at their ends.

    Args:
        row: One sample behind the other; what follows the last is left out.
        lengths: Tokens of each.
        fill: What they are padded with.

    Example:
        >>> cut_apart(torch.tensor([1, 2, 3, 4, 5, 0]), [3, 2], fill=-100)
        tensor([[   1,    2,    3],
                [   4,    5, -100]])
    """
    rest = len(row) - sum(lengths)
    samples = torch.split(row, [*lengths, rest])[: len(lengths)]
    return pad_sequence(list(samples), batch_first=True, padding_value=fill)
