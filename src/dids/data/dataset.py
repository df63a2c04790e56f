"""What a loader reads: the samples of several token stores, one after the other.

Axes: n samples, b batch, t tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int32, Int64
from torch.utils.data import Dataset

from dids.data.token_store import TokenStore

IGNORED = -100
"""The label that PyTorch's cross-entropy and Transformers leave out of the loss."""

Item = dict[str, Any]
"""``input_ids`` and ``labels`` [t] (int64), and ``sample``, the flat index."""


@runtime_checkable
class Samples(Protocol):
    """Samples by their numbers, whatever keeps them: what gradients are taken of."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sample ``[n]``."""

    def scored(self, groups: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Of each group of samples, by number, those that have a scored token, in their order."""

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, index: int) -> Item:
        """A sample, as the collator takes it."""

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """The samples of a batch, in the order asked for."""


class TokenDataset(Dataset[Item]):
    """Map-style data set over the samples of token stores.

    A sample's flat index counts through the stores in the given order.
    """

    def __init__(self, stores: Sequence[TokenStore]) -> None:
        """Put the stores one behind the other.

        Args:
            stores: One a source. They stay on disk.
        """
        self.stores = tuple(stores)
        self.source_names = [store.name for store in self.stores]
        self.offsets = np.cumsum([0, *(store.num_samples for store in self.stores)])

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def lengths(self) -> Int32[np.ndarray, " n"]:
        """Tokens of each sample."""
        return np.concatenate([np.zeros(0, np.int32), *(store.lengths for store in self.stores)])

    @property
    def scored_counts(self) -> Int32[np.ndarray, " n"]:
        """Scored tokens of each sample."""
        empty = np.zeros(0, np.int32)
        return np.concatenate([empty, *(store.scored_counts for store in self.stores)])

    def scored(self, groups: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Of each group of samples, by number, those that have a scored token, in their order."""
        is_scored_n = self.scored_counts > 0
        return [group_m[is_scored_n[group_m]] for group_m in groups]

    @property
    def source_of_sample(self) -> Int32[np.ndarray, " n"]:
        """Index into ``source_names`` of each sample."""
        sizes = np.diff(self.offsets)
        return np.repeat(np.arange(len(self.stores), dtype=np.int32), sizes)

    def locate(self, index: int) -> tuple[TokenStore, int]:
        """The store that holds a flat index, and the sample's number in it.

        Raises:
            IndexError: If there is no such sample.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} is not one of 0 to {len(self) - 1}")
        source = int(np.searchsorted(self.offsets, index, side="right")) - 1
        return self.stores[source], index - int(self.offsets[source])

    def scored_tokens(self, index: int) -> Int64[np.ndarray, " t"]:
        """Token ids of a sample that are scored, in order."""
        store, local = self.locate(index)
        ids, is_scored = store.sample(local)
        return np.asarray(ids[is_scored])

    def __getitem__(self, index: int) -> Item:
        store, local = self.locate(int(index))
        ids, is_scored = store.sample(local)
        labels = np.where(is_scored, ids, IGNORED)
        return {
            "input_ids": torch.from_numpy(ids),
            "labels": torch.from_numpy(labels),
            "sample": int(index),
        }

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """The samples of a batch, in the order asked for."""
        return [self[index] for index in indices]


class PaddingCollator:
    """Pads a batch on the right, to its own longest sample."""

    def __init__(self, pad_token_id: int) -> None:
        """Make a collator.

        Args:
            pad_token_id: What fills ``input_ids``. It is never scored nor attended to.
        """
        self.pad_token_id = pad_token_id

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch.

        Args:
            items: What `TokenDataset` gives, at least one.

        Returns:
            ``input_ids``, ``labels`` and ``attention_mask`` [b, t], all int64, and ``sample`` [b]
            where the items have it.
        """
        shape = (len(items), max(len(item["input_ids"]) for item in items))
        input_ids_bt = torch.full(shape, self.pad_token_id, dtype=torch.int64)
        labels_bt = torch.full(shape, IGNORED, dtype=torch.int64)
        attention_mask_bt = torch.zeros(shape, dtype=torch.int64)
        for row, item in enumerate(items):
            length = len(item["input_ids"])
            input_ids_bt[row, :length] = item["input_ids"]
            labels_bt[row, :length] = item["labels"]
            attention_mask_bt[row, :length] = 1
        batch = {
            "input_ids": input_ids_bt,
            "labels": labels_bt,
            "attention_mask": attention_mask_bt,
        }
        if "sample" in items[0]:
            batch["sample"] = torch.tensor([item["sample"] for item in items], dtype=torch.int64)
        return batch
