"""In which order a domain gives its samples, also where it was made of other domains on the way.

A domain's sequence is pass after pass over its samples, each in a keyed permutation. A domain that
was made while a run went on has samples that were drawn more often than others. They lie behind the
others in it, and its first passes leave them out until all have been drawn equally often: so every
sample is drawn once before any is drawn again, through every change.

Axis letters: n samples of one or more steps, m samples of a domain, k domains.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from dids.sampling.permutation import permuted
from dids.sampling.random_bits import more_random_bits, random_bits

_PASS = 3


@dataclass(frozen=True)
class DrawOrder:
    """The sequence of one domain.

    Attributes:
        key: Number of the domain's permutations; that of an untouched domain stays.
        start: Draws that its samples had when the sequence began.
        passes: Pairs ``(passes, samples)``: so many passes over the first so many samples, one pair
            after the other, before all samples take part.
    """

    key: int
    start: int = 0
    passes: tuple[tuple[int, int], ...] = ()

    def counts(self, size: int, drawn: int, seed: int) -> Int64[np.ndarray, " m"]:
        """How often each sample was drawn, by place, after so many draws of the domain.

        Args:
            size: Samples of the domain.
            drawn: Draws of its samples so far, those before ``start`` included.
            seed: Of the sampler.

        Example:
            >>> DrawOrder(7, start=2, passes=((1, 2),)).counts(4, 4, seed=0)
            array([1, 1, 1, 1])
        """
        count_m = self._counts_at_start(size)
        left, number = drawn - self.start, 0
        for passes, limit in (*self.passes, (None, size)):
            if limit == 0:
                break
            whole = left // limit if passes is None else min(passes, left // limit)
            count_m[:limit] += whole
            left, number = left - whole * limit, number + whole
            if passes is None or whole < passes:
                position = np.arange(left)
                key = random_bits(seed, _PASS, self.key, number)
                count_m[permuted(position, np.full(left, limit), np.repeat(key, left))] += 1
                break
        return count_m

    def _counts_at_start(self, size: int) -> np.ndarray:
        """The last samples were drawn most often: by as many passes as leave them out."""
        count_m = np.zeros(size, dtype=np.int64)
        for passes, limit in self.passes:
            count_m[limit:] += passes
        if size > 0:
            count_m += (self.start - int(count_m.sum())) // size
        return count_m

    def to_json(self) -> list[Any]:
        """As plain lists."""
        return [self.key, self.start, [list(pair) for pair in self.passes]]


class DrawOrders:
    """The sequences of all domains, read in any place without those before it.

    Args:
        size_k: Samples of each domain.
        seed: Of the sampler.
        orders: Their sequences. None: the domains that a run begins with, numbered from 0.
    """

    def __init__(
        self,
        size_k: Int64[np.ndarray, " k"],
        seed: int,
        orders: Sequence[DrawOrder] | None = None,
    ) -> None:
        self.by_domain = [DrawOrder(key) for key in range(len(size_k))]
        if orders is not None:
            self.by_domain = list(orders)
        self.key_k = np.array([order.key for order in self.by_domain], dtype=np.int64)
        self._size_k = size_k
        self._pass_bits_k = random_bits(seed, _PASS, self.key_k)
        self._begun_later = [
            domain for domain, order in enumerate(self.by_domain) if order.start or order.passes
        ]

    def to_json(self) -> list[Any] | None:
        """As plain lists; None for the domains that a run begins with."""
        is_plain = self.by_domain == [DrawOrder(key) for key in range(len(self.by_domain))]
        return None if is_plain else [order.to_json() for order in self.by_domain]

    def places(
        self, domain_n: Int64[np.ndarray, " n"], ordinal_n: Int64[np.ndarray, " n"]
    ) -> Int64[np.ndarray, " n"]:
        """The place in its domain of a domain's draw of some number, counted from 0.

        Args:
            domain_n: Domain of each draw.
            ordinal_n: Draws of that domain before it.
        """
        limit_n = self._size_k[domain_n]
        pass_n, position_n = np.divmod(ordinal_n, limit_n)
        for domain in self._begun_later:
            of_domain = np.flatnonzero(domain_n == domain)
            if len(of_domain) > 0:
                found = self._read(domain, ordinal_n[of_domain])
                pass_n[of_domain], position_n[of_domain], limit_n[of_domain] = found
        return permuted(position_n, limit_n, more_random_bits(self._pass_bits_k[domain_n], pass_n))

    def _read(self, domain: int, ordinal_n: np.ndarray) -> tuple[np.ndarray, ...]:
        """Number of the pass, position in it, and how many samples take part."""
        order = self.by_domain[domain]
        pairs = [*order.passes, (0, int(self._size_k[domain]))]
        num_passes, limit = np.array(pairs, dtype=np.int64).T
        ends = np.cumsum(num_passes * limit)[:-1]
        since_n = ordinal_n - order.start
        part_n = np.searchsorted(ends, since_n, side="right")
        begins = np.concatenate([[0], ends])
        inside_n, position_n = np.divmod(since_n - begins[part_n], limit[part_n])
        passed = np.concatenate([[0], np.cumsum(num_passes)[:-1]])
        return passed[part_n] + inside_n, position_n, limit[part_n]
