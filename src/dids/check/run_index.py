"""Which runs of words are asked for, and where: an index of hashes that most look-ups never reach.

A table of bits answers for nearly all runs of a training record that they are not asked for; only
the rest is searched for. 16 bytes an entry, and as many bytes of table.

Axes: e entries; a runs that are looked up; m matches.
"""

import numpy as np
from jaxtyping import Int64, UInt64

_MIN_TABLE_BITS = 16


class RunIndex:
    """Entries by the hash of a run of words.

    Args:
        hash_e: Hash of each entry; several entries may share one.
    """

    def __init__(self, hash_e: UInt64[np.ndarray, " e"]) -> None:
        self._order_e = np.argsort(hash_e, kind="stable")
        self._sorted_e = hash_e[self._order_e]
        bits = max(_MIN_TABLE_BITS, int(16 * max(1, len(hash_e)) - 1).bit_length())
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, dtype=bool)
        self._table[hash_e >> self._shift] = True

    def matches(
        self, hash_a: UInt64[np.ndarray, " a"]
    ) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
        """Every pair of a run and an entry with the same hash.

        Args:
            hash_a: Hashes of runs.

        Returns:
            Indices of the runs, ascending, and of their entries.

        Example:
            >>> index = RunIndex(np.array([7, 9, 7], dtype=np.uint64))
            >>> [m.tolist() for m in index.matches(np.array([8, 7, 9], dtype=np.uint64))]
            [[1, 1, 2], [0, 2, 1]]
        """
        run_c = np.flatnonzero(self._table[hash_a >> self._shift])
        first_c = np.searchsorted(self._sorted_e, hash_a[run_c], side="left")
        count_c = np.searchsorted(self._sorted_e, hash_a[run_c], side="right") - first_c
        run_m = np.repeat(run_c, count_c)
        ends_c = np.cumsum(count_c)
        within_m = np.arange(len(run_m)) - np.repeat(ends_c - count_c, count_c)
        return run_m, self._order_e[np.repeat(first_c, count_c) + within_m]
