"""Samples that know their domain: a map-style data set whose items carry it into the batch.

The domain of a sample follows from its index, so it needs no column that a trainer could drop.

Axes: n samples, b batch, t tokens, k domains.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch.utils.data import Dataset

from dids.data.joined_row import is_one_row, token_counts
from dids.errors import InputError

DOMAIN = "domain"
"""The key of the domain's number in items and batches."""
_OWN = "the data set's own domain"
"""The key of what an item itself has called so, until a collator takes it."""


class DomainDataset(Dataset[dict[str, Any]]):
    """A data set with the number of its domain in every item.

    Args:
        dataset: Map-style, of mappings: a concatenated ``datasets.Dataset``, read in slices, or
            anything else with ``__len__`` and ``__getitem__`` (and ``__getitems__``).
        domains: Either the number of samples of each domain, lying one behind the other, or the
            domain of every sample.

    Raises:
        InputError: If the domains do not account for every sample, or there is no saying how many
            samples there are.
    """

    def __init__(self, dataset: Any, domains: Mapping[str, int] | np.ndarray) -> None:  # noqa: ANN401
        if not hasattr(dataset, "__len__"):
            raise InputError(
                f"The training set is of the kind {type(dataset).__name__}, which can only be read "
                "from front to back; a mixture needs one with a length, whose samples are read by "
                "number, such as datasets.Dataset."
            )
        self.dataset = dataset
        self._domain_n: np.ndarray | None = None
        self._ends_k = np.zeros(0, dtype=np.int64)
        if isinstance(domains, np.ndarray):
            self._domain_n = domains
            num_samples = len(domains)
        else:
            self._ends_k = np.cumsum(list(domains.values()))
            num_samples = int(self._ends_k[-1])
        if num_samples != len(dataset):
            raise InputError(
                f"The training set has {len(dataset)} samples, but the domains have "
                f"{num_samples}; give every domain the number of samples that it has after "
                "preparation (tokenising may drop samples, packing joins them: pack each domain "
                "before they are put together)."
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def domains(self, ids: Sequence[int] | np.ndarray) -> Int64[np.ndarray, " b"]:
        """Number of the domain of samples."""
        if self._domain_n is not None:
            return np.asarray(self._domain_n[np.asarray(ids)], dtype=np.int64)
        return np.searchsorted(self._ends_k, ids, side="right")

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The samples of a batch, read in one go where the data set can."""
        ids = list(indices)
        items = read_items(self.dataset, ids)
        domains = self.domains(ids).tolist()
        return [
            {**item, **_own_of(item), DOMAIN: domain}
            for item, domain in zip(items, domains, strict=True)
        ]


class DomainCollator:
    """Collates as another collator does and puts the domains beside it.

    Args:
        collate: Makes a batch of items without their domains.
    """

    def __init__(self, collate: Callable[[list[dict[str, Any]]], Any]) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> Any:  # noqa: ANN401
        """The batch, with ``domain`` [b], of each sample, however many rows it has.

        Where the collator joins all samples to one row, ``domain`` is that of each token [1, t].

        Raises:
            InputError: If the batch has a ``domain`` without it, which would be lost.
        """
        plain = [
            {DOMAIN if name == _OWN else name: item[name] for name in item if name != DOMAIN}
            for item in items
        ]
        domain_b = torch.tensor([item[DOMAIN] for item in items], dtype=torch.int64)
        lengths = token_counts(plain)  # a collator may pop what it collates
        batch = self.collate(plain)
        if is_one_row(batch, lengths):
            domain_t = domain_b.repeat_interleave(torch.tensor(lengths))
            padding = batch["input_ids"].shape[1] - len(domain_t)
            domain_b = torch.cat([domain_t, domain_t[-1:].expand(padding)])[None]
        if DOMAIN in batch:
            raise InputError(
                f"training: the collator's batches have '{DOMAIN}' of their own, where a sample's "
                "number of its domain goes; let the collator give it another name."
            )
        batch[DOMAIN] = domain_b
        return batch


def _own_of(item: Mapping[str, Any]) -> dict[str, Any]:
    return {_OWN: item[DOMAIN]} if DOMAIN in item else {}


def read_items(dataset: Any, ids: list[int]) -> list[Any]:  # noqa: ANN401
    """Samples of a map-style data set, read in one go where it can."""
    read = getattr(dataset, "__getitems__", None)
    return [dataset[i] for i in ids] if read is None else list(read(ids))


def token_lengths(dataset: Any) -> np.ndarray | None:  # noqa: ANN401
    """Tokens of every sample of a data set: its ``lengths``, or those of its ``input_ids``.

    Returns:
        One number a sample; None where samples have no ``input_ids``.
    """
    lengths = getattr(dataset, "lengths", None)
    if lengths is not None:
        return np.asarray(lengths)
    if not _has_token_ids(dataset):
        return None
    if hasattr(dataset, "with_format"):
        return _arrow_lengths(dataset)
    return np.array([len(dataset[index]["input_ids"]) for index in range(len(dataset))])


def _has_token_ids(dataset: Any) -> bool:  # noqa: ANN401
    names = getattr(dataset, "column_names", None)
    if names is None:
        first = dataset[0] if len(dataset) > 0 else {}
        names = first if isinstance(first, Mapping) else {}
    return "input_ids" in names


def _arrow_lengths(dataset: Any) -> np.ndarray:  # noqa: ANN401
    """Of a ``datasets.Dataset``, without making Python objects of its tokens."""
    import pyarrow.compute

    table = dataset.select_columns(["input_ids"]).with_format("arrow")
    parts = [
        pyarrow.compute.list_value_length(table[first : first + 10_000]["input_ids"]).to_numpy()
        for first in range(0, len(dataset), 10_000)
    ]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])
