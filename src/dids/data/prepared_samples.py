"""Samples of any map-style data set, as a Trainer has prepared them, for gradients of each.

Axes: n samples, b batch, t tokens.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dids.data.dataset import IGNORED
from dids.data.domain_dataset import read_items
from dids.errors import InputError

_AT_ONCE = 64


class PreparedSamples:
    """Some or all samples of a map-style data set.

    Args:
        dataset: With ``__len__`` and ``__getitem__`` (and ``__getitems__``).
        lengths: Tokens of each of these samples.
        chosen: Which samples of the data set these are. None: all.
    """

    def __init__(
        self,
        dataset: Any,  # noqa: ANN401
        lengths: np.ndarray,
        chosen: np.ndarray | None = None,
    ) -> None:
        self._dataset = dataset
        self._chosen = chosen
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def scored(self, groups: Sequence[np.ndarray]) -> list[np.ndarray]:
        """All of them: what is scored is the collator's to say."""
        return list(groups)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The samples of a batch, in the order asked for; a collator may pop what it collates."""
        ids = list(indices) if self._chosen is None else self._chosen[list(indices)].tolist()
        return [dict(item) for item in read_items(self._dataset, ids)]


class RowCollator:
    """Another collator's batches as gradients are taken of them: a row a sample, padded at its end.

    Args:
        collate: Of the Trainer.
        of: What is collated, for messages: ``the training set``.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], of: str) -> None:
        self.collate = collate
        self.of = of

    def __call__(self, items: list[Any]) -> dict[str, Tensor]:
        """``input_ids``, ``labels`` and, where the collator makes one, ``attention_mask`` [b, t].

        Raises:
            InputError: If the batch has no labels, or not a row for every sample.
        """
        batch = self.collate(items)
        missing = [name for name in ("input_ids", "labels") if batch.get(name) is None]
        if missing:
            raise InputError(
                f"{self.of}: its batches have no {missing[0]} (they have {', '.join(batch)}); "
                "impact is measured on input_ids and labels, -100 where a token is not scored."
            )
        names = [name for name in _NAMES if batch.get(name) is not None]
        rows = {name: torch.as_tensor(batch[name]) for name in names}
        if len(rows["labels"]) != len(items):
            raise InputError(
                f"{self.of}: the collator makes {len(rows['labels'])} rows of {len(items)} "
                "samples; impact is measured sample by sample, so leave padding_free out, and pack "
                "each domain by itself before, if at all."
            )
        mask_bt = rows.get("attention_mask")
        if mask_bt is None or bool(mask_bt[:, 0].all()):
            return rows
        num_tokens = mask_bt.shape[1]
        first_b1 = mask_bt.int().argmax(1, keepdim=True)
        source_bt = (torch.arange(num_tokens) + first_b1.cpu()) % num_tokens
        return {
            name: row_bt.gather(1, source_bt.to(row_bt.device)) for name, row_bt in rows.items()
        }


_NAMES = ("input_ids", "labels", "attention_mask")


def looked_at(
    samples: PreparedSamples, collate: RowCollator, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens, and scored ones, some samples have once they are collated.

    Args:
        samples: Of these.
        collate: Makes the batches.
        ids: Which samples.

    Returns:
        Tokens and scored tokens, one number each for every sample.
    """
    tokens, scored = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for first in range(0, len(ids), _AT_ONCE):
        batch = collate(samples.__getitems__(ids[first : first + _AT_ONCE].tolist()))
        labels_bt = batch["labels"]
        mask_bt = batch.get("attention_mask", torch.ones_like(labels_bt))
        tokens.append(mask_bt.sum(1).cpu().numpy())
        # The first token is predicted from nothing.
        scored.append((labels_bt[:, 1:] != IGNORED).sum(1).cpu().numpy())
    return np.concatenate(tokens), np.concatenate(scored)
