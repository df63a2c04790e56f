"""The samples of every domain: which they are, how long, and how often they may be drawn.

Domains that lie one behind the other (``range``) take no memory, however many samples they have.

Axis letters: k domains, n samples of the data set, b samples of one or more steps.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Int64, Integer

AtEnd = Literal["renormalise", "stop"]
"""What happens when a domain has been drawn as often as it may: the others share its weight by
theirs, or the run ends with the last step that it can serve in full."""

UNLIMITED = 2**62
"""Samples that a domain without a limit can give."""


class DomainSamples:
    """What each domain has to give.

    Args:
        samples_by_domain: Sample ids of each domain.
        lengths: Tokens of every sample id, or one number where all are equally long.
        max_repeats: For each domain, how often its samples may be drawn again; None: no limit.
        at_end: For each domain, what happens when it is used up.

    Raises:
        ValueError: If the arguments do not fit each other.
    """

    def __init__(
        self,
        samples_by_domain: Sequence[Integer[np.ndarray, " ..."] | range],
        lengths: Integer[np.ndarray, " n"] | int,
        max_repeats: Sequence[int | None],
        at_end: Sequence[AtEnd],
    ) -> None:
        num_domains = len(samples_by_domain)
        if num_domains == 0:
            raise ValueError("there must be at least one domain.")
        if any(repeats is not None and repeats < 0 for repeats in max_repeats):
            raise ValueError(
                f"max_repeats must be 0 or more or None, but it is {list(max_repeats)}."
            )
        unknown = sorted(set(at_end) - {"renormalise", "stop"})
        if unknown:
            raise ValueError(f"at_end must be renormalise or stop, but it is {unknown[0]!r}.")
        for name, entries in (("max_repeats", max_repeats), ("at_end", at_end)):
            if len(entries) != num_domains:
                raise ValueError(
                    f"{name} needs one entry for each of {num_domains} domains, "
                    f"but it has {len(entries)}."
                )
        for domain, samples in enumerate(samples_by_domain):
            _refuse_no_ids(domain, samples)
        _refuse_no_lengths(lengths)
        last = max(map(_last_id, samples_by_domain))
        if isinstance(lengths, np.ndarray) and last >= len(lengths):
            raise ValueError(f"there are {len(lengths)} lengths, but a sample has number {last}.")
        self.size_k = np.array([len(samples) for samples in samples_by_domain], dtype=np.int64)
        self.capacity_k = np.array(
            [
                UNLIMITED if repeats is None and size > 0 else int(size) * (1 + (repeats or 0))
                for size, repeats in zip(self.size_k, max_repeats, strict=True)
            ],
            dtype=np.int64,
        )
        self.stops_k = np.array([end == "stop" for end in at_end])
        self.is_limited = bool((self.capacity_k < UNLIMITED).any())
        self._lengths = lengths
        self._members = list(samples_by_domain)
        if all(isinstance(samples, range) and samples.step == 1 for samples in samples_by_domain):
            self._first_k = np.array(
                [samples.start for samples in samples_by_domain if isinstance(samples, range)],
                dtype=np.int64,
            )
            self._sample_ids = None
        else:
            self._first_k = (np.cumsum(self.size_k) - self.size_k).astype(np.int64)
            self._sample_ids = np.concatenate([np.asarray(s) for s in samples_by_domain])

    @property
    def num_domains(self) -> int:
        """Number of domains."""
        return len(self.size_k)

    @property
    def equal_length(self) -> int | None:
        """Tokens of every sample, if all are known to be equally long."""
        return None if isinstance(self._lengths, np.ndarray) else int(self._lengths)

    @cached_property
    def only_length(self) -> int | None:
        """Tokens of every sample, if all are equally long, whether known before or found here."""
        if not isinstance(self._lengths, np.ndarray):
            return int(self._lengths)
        if len(self._lengths) == 0 or self._lengths.min() != self._lengths.max():
            return None
        return int(self._lengths[0])

    def ids(
        self, domain_b: Int64[np.ndarray, " b"], place_b: Int64[np.ndarray, " b"]
    ) -> Int64[np.ndarray, " b"]:
        """Sample ids by domain and place in it."""
        at_b = self._first_k[domain_b] + place_b
        if self._sample_ids is None:
            return np.asarray(at_b)
        return np.asarray(self._sample_ids[at_b], dtype=np.int64)

    def lengths(self, id_b: Int64[np.ndarray, " b"]) -> Integer[np.ndarray, " b"]:
        """Tokens of samples."""
        if not isinstance(self._lengths, np.ndarray):
            return np.full(len(id_b), self._lengths, dtype=np.int64)
        return np.asarray(self._lengths[id_b])

    @cached_property
    def tokens_k(self) -> Int64[np.ndarray, " k"]:
        """Tokens of all samples of each domain; summed once."""
        if not isinstance(self._lengths, np.ndarray):
            return self.size_k * int(self._lengths)
        sums = [
            self._lengths[members.start : members.stop].sum(dtype=np.int64)
            if isinstance(members, range) and members.step == 1
            else self._lengths[np.asarray(members, dtype=np.int64)].sum(dtype=np.int64)
            for members in self._members
        ]
        return np.array(sums, dtype=np.int64)


def _refuse_no_ids(domain: int, samples: object) -> None:
    """Refuse what is not the numbers of samples: a mask, fractions, places from the end."""
    if not isinstance(samples, range | np.ndarray):
        raise ValueError(
            f"domain {domain}: sample ids must be an array or a range, but are a "
            f"{type(samples).__name__}."
        )
    if isinstance(samples, np.ndarray) and samples.dtype.kind not in "iu" and len(samples) > 0:
        raise ValueError(
            f"domain {domain}: sample ids must be whole numbers, but are {samples.dtype}; "
            "np.flatnonzero makes them of a mask."
        )
    if len(samples) == 0:
        return
    first = min(samples[0], samples[-1]) if isinstance(samples, range) else samples.min()
    if first < 0:
        raise ValueError(f"domain {domain}: sample ids must be 0 or more.")


def _refuse_no_lengths(lengths: object) -> None:
    if isinstance(lengths, np.ndarray):
        if lengths.dtype.kind not in "iu" and len(lengths) > 0:
            raise ValueError(f"lengths must be whole numbers, but are {lengths.dtype}.")
        least = int(lengths.min()) if len(lengths) > 0 else 0
    elif isinstance(lengths, int | np.integer):
        least = int(lengths)
    else:
        raise ValueError(
            f"lengths must be an array or one number, but are a {type(lengths).__name__}."
        )
    if least < 0:
        raise ValueError(f"lengths must be 0 or more, but one is {least}.")


def _last_id(samples: np.ndarray | range) -> int:
    if len(samples) == 0:
        return -1
    return max(samples[0], samples[-1]) if isinstance(samples, range) else int(samples.max())
