"""Samples of any map-style data set, as a Trainer has prepared them, for gradients of each.

Axes: n samples, m some of them, b batch, t tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dids.data.dataset import IGNORED
from dids.data.domain_dataset import read_items
from dids.data.joined_row import cut_apart, token_counts
from dids.data.padded_rows import padded_at_the_end
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
        """``input_ids``, ``labels`` and, where there is padding, ``attention_mask`` [b, t].

        Samples that the collator joins to one row have rows of their own here. ``position_ids``
        come along where they begin anew within a sample: documents packed into one row. A model
        keeps those apart that has no ``attention_mask`` beside them: in a batch of one.

        Raises:
            InputError: If the batch has no labels, or there is no telling its samples apart.
        """
        lengths = token_counts(items)  # a collator may pop what it collates
        batch = self.collate(items)
        missing = [name for name in ("input_ids", "labels") if batch.get(name) is None]
        if missing:
            raise InputError(
                f"{self.of}: its batches have no {missing[0]} (they have {', '.join(batch)}); "
                "impact is measured on input_ids and labels, -100 where a token is not scored."
            )
        names = [name for name in _NAMES if batch.get(name) is not None]
        rows = {name: torch.as_tensor(batch[name]) for name in names}
        if rows["labels"].shape != rows["input_ids"].shape:
            raise InputError(
                f"{self.of}: its labels are {_axes(rows['labels'])} and its input_ids "
                f"{_axes(rows['input_ids'])}; impact is measured on a label for every token."
            )
        if len(rows["labels"]) == len(items):
            rows = padded_at_the_end(_without_other_positions(rows))
        else:
            rows = self._apart(rows, _positions(rows, batch.get("cu_seq_lens_q")), lengths)
        return rows if _has_documents(rows) else _without(rows, "position_ids")

    def _apart(
        self, rows: dict[str, Tensor], position_t: Tensor | None, lengths: list[int]
    ) -> dict[str, Tensor]:
        """The samples of one row, padded.

        Args:
            rows: With one row.
            position_t: Of its tokens in their documents, where the collator says so.
            lengths: Tokens of each sample.
        """
        num_rows, num_tokens = rows["labels"].shape
        labels_t = rows["labels"][0]
        if position_t is None or num_rows != 1 or len(position_t) != num_tokens:
            raise InputError(
                f"{self.of}: the collator makes {num_rows} rows of {len(lengths)} samples; impact "
                "is measured sample by sample, so they must be padded to a row each, or lie in one "
                "row with position_ids that say where each begins."
            )
        begins_t = torch.ones(num_tokens, dtype=torch.bool)
        begins_t[1:] = position_t.diff() != 1
        starts = np.cumsum([0, *lengths[:-1]])[np.array(lengths) > 0]
        if sum(lengths) > num_tokens or not len(starts) or not bool(begins_t[starts].all()):
            raise InputError(
                f"{self.of}: the collator makes one row of {num_tokens} tokens of {len(lengths)} "
                f"samples that have {sum(lengths)} input_ids, in another order or cut; impact is "
                "measured sample by sample, so they must lie there as they are, one behind the "
                "other."
            )
        if bool((labels_t[starts[1:]] != IGNORED).any()):
            raise InputError(
                f"{self.of}: in the collator's one row of all samples the first token of a sample "
                "has a label, so it would be predicted from the sample before; its label must be "
                "-100."
            )
        whole_t = torch.ones(num_tokens, dtype=torch.int64)
        return {
            "input_ids": cut_apart(rows["input_ids"][0], lengths),
            "labels": cut_apart(labels_t, lengths, fill=IGNORED),
            "position_ids": cut_apart(position_t, lengths),
            "attention_mask": cut_apart(whole_t, lengths),
        }


_NAMES = ("input_ids", "labels", "attention_mask", "position_ids")


def _axes(rows: Tensor) -> str:
    return " x ".join(map(str, rows.shape))


def _without_other_positions(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rows whose ``position_ids`` are one for each token, or none."""
    if "position_ids" in rows and rows["position_ids"].shape != rows["labels"].shape:
        return _without(rows, "position_ids")  # of images' axes, or one row for all
    return rows


def _positions(rows: Mapping[str, Tensor], ends: Sequence[int] | Tensor | None) -> Tensor | None:
    """Of the tokens of a batch's first row, which begin anew with each document.

    Args:
        rows: The batch.
        ends: Where its documents begin and end, as flash attention is told.
    """
    if "position_ids" in rows:
        return rows["position_ids"][0]
    if ends is None:
        return None
    return torch.cat([torch.arange(length) for length in np.diff(ends).tolist()])


def _has_documents(rows: Mapping[str, Tensor]) -> bool:
    """Whether positions begin anew within a row."""
    position_bt, mask_bt = rows.get("position_ids"), rows.get("attention_mask")
    if position_bt is None:
        return False
    anew_bt = position_bt.diff(dim=1) != 1
    return bool((anew_bt if mask_bt is None else anew_bt & mask_bt[:, 1:].bool()).any())


def _without(rows: dict[str, Tensor], left_out: str) -> dict[str, Tensor]:
    return {name: row_bt for name, row_bt in rows.items() if name != left_out}


@dataclass(frozen=True, eq=False)
class Looks:
    """What samples are once they are collated.

    Attributes:
        tokens_m: Of each.
        scored_m: Scored tokens of each.
        has_documents: Whether there are rows of several documents: a batch must be one sample.
    """

    tokens_m: np.ndarray
    scored_m: np.ndarray
    has_documents: bool


def looked_at(samples: PreparedSamples, collate: RowCollator, ids: np.ndarray) -> Looks:
    """Collate some samples and count.

    Args:
        samples: Of these.
        collate: Makes the batches.
        ids: Which samples.
    """
    tokens, scored = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    has_documents = False
    for first in range(0, len(ids), _AT_ONCE):
        batch = collate(samples.__getitems__(ids[first : first + _AT_ONCE].tolist()))
        labels_bt = batch["labels"]
        mask_bt = batch.get("attention_mask", torch.ones_like(labels_bt))
        has_documents |= "position_ids" in batch
        tokens.append(mask_bt.sum(1).cpu().numpy())
        # The first token is predicted from nothing.
        scored.append((labels_bt[:, 1:] != IGNORED).sum(1).cpu().numpy())
    return Looks(np.concatenate(tokens), np.concatenate(scored), has_documents)
