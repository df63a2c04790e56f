"""The samples of a Trainer that impact is measured on: its training set's, and its tasks'.

Axis letters: k domains, n samples, m some of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from dids.data.prepared_samples import PreparedSamples, RowCollator, looked_at
from dids.errors import InputError

_LOOKED_AT = 16
"""Samples of each domain whose tokens are counted as the collator makes them."""
_MOST_OF_A_TASK = 2_000
"""Samples of an evaluation set that are measured on, at most."""


@dataclass(frozen=True, eq=False)
class TrainerData:
    """What there is to measure on.

    Attributes:
        samples: The training set.
        members: Numbers of each domain's samples.
        tasks: Samples of each task that have a scored token.
        collate: Makes a batch of either.
        tokens_k: Mean tokens of a sample, by domain, at least one.
        scored_tokens_k: Mean scored tokens, at least one, to divide by.
        lengths: Tokens of every sample. None: samples have no token ids before they are collated.
        has_documents: Whether the training set, and whether a task, has rows of several documents.
    """

    samples: PreparedSamples
    members: Sequence[np.ndarray]
    tasks: Mapping[str, PreparedSamples]
    collate: RowCollator
    tokens_k: Float64[np.ndarray, " k"]
    scored_tokens_k: Float64[np.ndarray, " k"]
    lengths: np.ndarray | None
    has_documents: tuple[bool, bool]

    @classmethod
    def of(
        cls,
        dataset: Any,  # noqa: ANN401
        sizes_k: Int64[np.ndarray, " k"],
        tasks: Mapping[str, Any],
        collate: Callable[[list[Any]], Any],
        lengths: np.ndarray | None,
    ) -> "TrainerData":
        """Look at some samples of each domain, and at those of the tasks.

        Args:
            dataset: The training set, prepared; domains lie one behind the other.
            sizes_k: Samples of each domain.
            tasks: The evaluation sets, prepared.
            collate: The Trainer's.
            lengths: Tokens of every sample, where they are known.

        Raises:
            InputError: If an evaluation set cannot be read by number or has nothing scored, or
                batches are not a row a sample.
        """
        ends = np.cumsum(sizes_k)
        members = np.split(np.arange(ends[-1]), ends[:-1])
        samples = PreparedSamples(
            dataset, np.ones(len(dataset), np.int64) if lengths is None else lengths
        )
        rows = RowCollator(collate, "the training set")
        random = np.random.Generator(np.random.Philox(key=[0, 0]))
        looks = [looked_at(samples, rows, _some(random, ids_m, _LOOKED_AT)) for ids_m in members]
        tokens = [
            float(look.tokens_m.mean() if lengths is None else lengths[ids_m].mean())
            for ids_m, look in zip(members, looks, strict=True)
        ]
        found = {
            name: _task(name, task, RowCollator(collate, f"eval_dataset.{name}"))
            for name, task in tasks.items()
        }
        return cls(
            samples=samples,
            members=members,
            tasks={name: task for name, (task, _) in found.items()},
            collate=rows,
            tokens_k=np.maximum(tokens, 1.0),
            scored_tokens_k=np.maximum([float(look.scored_m.mean()) for look in looks], 1.0),
            lengths=lengths,
            has_documents=(
                any(look.has_documents for look in looks),
                any(has_documents for _, has_documents in found.values()),
            ),
        )


def _task(
    name: str,
    dataset: Any,  # noqa: ANN401
    collate: RowCollator,
) -> tuple[PreparedSamples, bool]:
    """Samples of an evaluation set that have a scored token, and whether any has documents."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise InputError(
            f"eval_dataset.{name} is of the kind {type(dataset).__name__}, which can only be read "
            "from front to back; a task needs one with a length, whose samples are read by number."
        )
    random = np.random.Generator(np.random.Philox(key=[0, 1]))
    ids_m = _some(random, np.arange(len(dataset)), _MOST_OF_A_TASK)
    everything = PreparedSamples(dataset, np.ones(len(dataset), np.int64))
    look = looked_at(everything, collate, ids_m)
    is_scored_m = look.scored_m > 0
    if not is_scored_m.any():
        raise InputError(
            f"eval_dataset.{name}: none of its {len(ids_m):,} samples has a scored token (a label "
            "that is not -100, behind the first), so no impact on it can be measured."
        )
    scored = PreparedSamples(dataset, look.tokens_m[is_scored_m], ids_m[is_scored_m])
    return scored, look.has_documents


def _some(random: np.random.Generator, ids_n: np.ndarray, most: int) -> np.ndarray:
    """So many of these samples at most, in their order."""
    if len(ids_n) <= most:
        return ids_n
    return np.sort(random.choice(ids_n, size=most, replace=False))
