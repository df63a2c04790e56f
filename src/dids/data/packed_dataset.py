"""Blocks of a fixed number of tokens, packed inside each domain before anything is mixed.

Packing after mixing would join samples of several domains: a block would have no domain, and the
weights of a mixture no meaning. Nothing is copied: a block is read from the memory-mapped samples
that it spans.

Axes: n blocks, t tokens of a block, k domains, m samples of a domain.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from dids.data.dataset import IGNORED, TokenDataset
from dids.errors import InputError


class PackedDataset(Dataset[dict[str, Any]]):
    """Every domain's samples one after the other, cut into blocks; the last, short one is left out.

    Args:
        dataset: The samples.
        members: Sample ids of each domain, by name, in the order in which they are packed.
        block_length: Tokens of a block.

    Raises:
        InputError: If a domain has fewer tokens than one block.

    Attributes:
        sizes: Blocks of each domain; the domains lie one behind the other.
        lengths: Tokens of every block.
    """

    def __init__(
        self, dataset: TokenDataset, members: Mapping[str, np.ndarray], block_length: int
    ) -> None:
        self.dataset = dataset
        self.block_length = block_length
        self._members = list(members.values())
        lengths = dataset.lengths
        self._ends_m = [np.cumsum(lengths[ids], dtype=np.int64) for ids in self._members]
        self.sizes: dict[str, int] = {}
        for name, ends_m in zip(members, self._ends_m, strict=True):
            num_tokens = int(ends_m[-1]) if len(ends_m) > 0 else 0
            if num_tokens < block_length:
                raise InputError(
                    f"Domain '{name}' has {num_tokens} tokens, fewer than one block of "
                    f"{block_length}; take shorter blocks, or leave the domain out."
                )
            self.sizes[name] = num_tokens // block_length
        self._block_ends_k = np.cumsum(list(self.sizes.values()))
        self.lengths = np.full(len(self), block_length, dtype=np.int32)

    def __len__(self) -> int:
        return int(self._block_ends_k[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"block {index} is not one of 0 to {len(self) - 1}")
        domain = int(np.searchsorted(self._block_ends_k, index, side="right"))
        number = index - (int(self._block_ends_k[domain - 1]) if domain > 0 else 0)
        ids_t, is_scored_t = self._span(domain, number * self.block_length)
        return {
            "input_ids": torch.from_numpy(ids_t),
            "labels": torch.from_numpy(np.where(is_scored_t, ids_t, IGNORED)),
        }

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The blocks of a batch."""
        return [self[index] for index in indices]

    def _span(self, domain: int, start: int) -> tuple[np.ndarray, np.ndarray]:
        """One block's tokens, and which of them are scored, from a domain's samples."""
        ends_m, stop = self._ends_m[domain], start + self.block_length
        first = int(np.searchsorted(ends_m, start, side="right"))
        last = int(np.searchsorted(ends_m, stop, side="left"))
        begin = int(ends_m[first - 1]) if first > 0 else 0
        samples = []
        for sample_id in self._members[domain][first : last + 1]:
            store, local = self.dataset.locate(int(sample_id))
            samples.append(store.sample(local))
        cut = slice(start - begin, stop - begin)
        ids = np.concatenate([ids for ids, _ in samples])[cut]
        return ids, np.concatenate([is_scored for _, is_scored in samples])[cut]
