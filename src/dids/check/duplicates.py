"""Records that repeat an earlier one, exactly or nearly, over all sources.

A record is a repetition once, of the first one found to be like it, so that what is left without
the repetitions has none. Near-duplicates are looked for band by band (locality-sensitive hashing:
16 bands of 8 bytes find a pair of similarity 0.8 with a probability of 0.95, of 0.9 with 0.9999)
and then compared by their whole signatures.

Memory does not grow with the records but for two bits of each: the keys of a band go to disk, in
as many parts as it takes for one to be sorted in memory.

Axes: r records of a block or part; c candidate pairs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt64

from dids.check.sketches import SIGNATURE_BYTES, Sketches, similarity
from dids.data.records import Origin
from dids.errors import InputError

SIMILARITY = 0.8
"""Jaccard similarity of the sets of runs of five words, from which on two texts are nearly alike:
about one word in fifty changed, or a tenth of the text added."""
BAND_BYTES = 8
NUM_BANDS = SIGNATURE_BYTES // BAND_BYTES
NUM_EXAMPLES = 3
MAX_RECORDS = (1 << 32) - 1
"""Numbers have 32 bits on disk."""

_RECORDS_A_BLOCK = 1 << 16
_RECORDS_A_PART = 1 << 20
_ROWS_AT_ONCE = 1 << 15
_ENTRY = np.dtype([("key", "<u8"), ("record", "<u4")])

Kind = Literal["exact", "near"]
Keys = UInt64[np.ndarray, " r"]
Records = Int64[np.ndarray, " r"]


@dataclass(frozen=True)
class Pair:
    """A record and the earlier one that it is like."""

    record: Origin
    of: Origin
    similarity: float


@dataclass
class Duplicates:
    """Repetitions in one source of records of another, or of its own."""

    source: str
    of_source: str
    kind: Kind
    records: int = 0
    examples: list[Pair] = field(default_factory=list)
    """Of the first places in the source."""


@dataclass(frozen=True)
class Repetitions:
    """What repeats an earlier record."""

    by_source: list[Duplicates]
    """One object for each pair of sources and kind that has any."""
    records: Iterator[Origin]
    """Every one of them, to be read once."""


def find_duplicates(
    sketches: Sequence[Sketches],
    scratch: Path,
    *,
    min_similarity: float | None = SIMILARITY,
    progress: Callable[[float], None] = lambda amount: None,
) -> Repetitions:
    """Find the records that repeat an earlier one.

    Args:
        sketches: Of the sources, in their order: what comes first is the original.
        scratch: An empty folder for the keys, 12 bytes a record.
        min_similarity: From which on two texts are near-duplicates. None: only equal texts count.
        progress: Called with the fraction done since the last call.

    Returns:
        How many there are, by sources, and which.
    """
    search = _Search(sketches, scratch)
    num_passes = 1 if min_similarity is None else 1 + NUM_BANDS
    search.exact()
    progress(1 / num_passes)
    if min_similarity is not None:
        for band in range(NUM_BANDS):
            search.near(band, min_similarity)
            progress(1 / num_passes)
    return Repetitions(search.counted(), search.repeating())


class _Search:
    """What is known so far; records are numbered over all sources."""

    def __init__(self, sketches: Sequence[Sketches], scratch: Path) -> None:
        self._sketches = sketches
        self._starts = np.cumsum([0, *(source.num_records for source in sketches)])
        total = int(self._starts[-1])
        if total > MAX_RECORDS:
            raise InputError(
                f"data.sources: there are {total:,} records, but a check numbers {MAX_RECORDS:,} "
                "at most; join short records into longer ones."
            )
        self._num_parts = max(1, 1 << (-(-total // _RECORDS_A_PART) - 1).bit_length())
        self._is_exact = _Bits(total)
        self._is_found = _Bits(total)
        self._scratch = scratch
        self._counts: dict[tuple[int, int, Kind], int] = {}
        self._examples: dict[tuple[int, int, Kind], list[tuple[int, int, float]]] = {}

    def exact(self) -> None:
        """Find equal texts.

        Those of one block are found at once: a text that stands there a million times shall not
        fill a part.
        """

        def blocks() -> Iterator[tuple[Keys, Records]]:
            for source, first, stop in self._blocks():
                key_r = self._sketches[source].wholes(first, stop)
                record_r = np.arange(first, stop) + self._starts[source]
                has_words_r = key_r != 0
                key_r, record_r = key_r[has_words_r], record_r[has_words_r]
                self._note_equal(key_r, record_r)
                is_left_r = ~self._is_found[record_r]
                yield key_r[is_left_r], record_r[is_left_r]

        for key_r, record_r in self._parts(blocks()):
            self._note_equal(key_r, record_r)
        self._is_exact.include(self._is_found)

    def near(self, band: int, min_similarity: float) -> None:
        """Find texts that agree in one band and are alike on the whole."""

        def blocks() -> Iterator[tuple[Keys, Records]]:
            for source, first, stop in self._blocks():
                rows = self._sketches[source].signatures(first, stop)
                bytes_rb = rows[:, band * BAND_BYTES : (band + 1) * BAND_BYTES]
                key_r = np.ascontiguousarray(bytes_rb).view("<u8").ravel()
                record_r = np.arange(first, stop) + self._starts[source]
                is_asked_r = ~self._is_exact[record_r]
                is_asked_r &= self._sketches[source].wholes(first, stop) != 0
                yield key_r[is_asked_r], record_r[is_asked_r]

        for key_r, record_r in self._parts(blocks()):
            first_r, before_r = _earlier(key_r, record_r)
            self._note_alike(record_r, first_r, first_r < record_r, min_similarity)
            # Where the first is another text that shares the band by chance, the others may still
            # be alike.
            self._note_alike(record_r, before_r, before_r > first_r, min_similarity)

    def repeating(self) -> Iterator[Origin]:
        """Every record that was found, in the order of the sources."""
        for source, first, stop in self._blocks():
            record_r = np.arange(first, stop)
            is_found_r = self._is_found[record_r + self._starts[source]]
            yield from self._sketches[source].origins(record_r[is_found_r])

    def counted(self) -> list[Duplicates]:
        """The counts and examples by sources and kind."""
        return [
            Duplicates(
                self._sketches[source].name,
                self._sketches[of_source].name,
                kind,
                count,
                [
                    Pair(self._origin(record), self._origin(of), like)
                    for record, of, like in self._examples[source, of_source, kind]
                ],
            )
            for (source, of_source, kind), count in sorted(self._counts.items())
        ]

    def _blocks(self) -> Iterator[tuple[int, int, int]]:
        for source, sketch in enumerate(self._sketches):
            for first in range(0, sketch.num_records, _RECORDS_A_BLOCK):
                yield source, first, min(first + _RECORDS_A_BLOCK, sketch.num_records)

    def _parts(self, blocks: Iterator[tuple[Keys, Records]]) -> Iterator[tuple[Keys, Records]]:
        """The same entries by ranges of their keys, sorted by key, then record."""
        paths = [self._scratch / f"part-{number}" for number in range(self._num_parts)]
        shift = np.uint64(64 - (self._num_parts - 1).bit_length())
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("wb")) for path in paths]
            for key_r, record_r in blocks:
                entry_r = np.empty(len(key_r), dtype=_ENTRY)
                entry_r["key"], entry_r["record"] = key_r, record_r
                part_r = np.zeros(len(key_r), np.uint16)
                if self._num_parts > 1:
                    part_r = (key_r >> shift).astype(np.uint16)
                entry_r = entry_r[np.argsort(part_r, kind="stable")]
                ends = np.cumsum(np.bincount(part_r, minlength=self._num_parts)).tolist()
                for file, start, stop in zip(files, [0, *ends[:-1]], ends, strict=True):
                    file.write(entry_r[start:stop].tobytes())
        for path in paths:
            entry_r = np.fromfile(path, dtype=_ENTRY)
            path.unlink()
            order_r = np.argsort(entry_r["key"], kind="stable")
            yield entry_r["key"][order_r], entry_r["record"][order_r].astype(np.int64)

    def _note_equal(self, key_r: Keys, record_r: Records) -> None:
        order_r = np.argsort(key_r, kind="stable")
        key_r, record_r = key_r[order_r], record_r[order_r]
        first_r, _ = _earlier(key_r, record_r)
        is_later_r = first_r < record_r
        self._note("exact", record_r[is_later_r], first_r[is_later_r], np.ones(len(key_r)))

    def _note_alike(
        self, record_r: Records, other_r: Records, is_asked_r: np.ndarray, min_similarity: float
    ) -> None:
        is_open_r = is_asked_r & ~self._is_found[record_r]
        record_c, other_c = record_r[is_open_r], other_r[is_open_r]
        for first in range(0, len(record_c), _ROWS_AT_ONCE):
            record_r = record_c[first : first + _ROWS_AT_ONCE]
            other_r = other_c[first : first + _ROWS_AT_ONCE]
            like_r = similarity(self._rows(record_r), self._rows(other_r))
            is_alike_r = like_r >= min_similarity
            self._note("near", record_r[is_alike_r], other_r[is_alike_r], like_r[is_alike_r])

    def _note(self, kind: Kind, record_r: Records, of_r: Records, like_r: np.ndarray) -> None:
        self._is_found.set(record_r)
        source_r, of_source_r = (
            np.searchsorted(self._starts, some_r, side="right") - 1 for some_r in (record_r, of_r)
        )
        pair_r = source_r * len(self._sketches) + of_source_r
        for pair in np.unique(pair_r).tolist():
            source, of_source = divmod(pair, len(self._sketches))
            here = np.flatnonzero(pair_r == pair)
            first = here[np.argsort(record_r[here])[:NUM_EXAMPLES]]
            key: tuple[int, int, Kind] = (source, of_source, kind)
            self._counts[key] = self._counts.get(key, 0) + len(here)
            new = zip(*(some[first].tolist() for some in (record_r, of_r, like_r)), strict=True)
            self._examples[key] = sorted([*self._examples.get(key, []), *new])[:NUM_EXAMPLES]

    def _rows(self, record_r: Records) -> UInt8[np.ndarray, " r s"]:
        row_rs = np.empty((len(record_r), SIGNATURE_BYTES), dtype=np.uint8)
        source_r = np.searchsorted(self._starts, record_r, side="right") - 1
        for source in np.unique(source_r).tolist():
            here = source_r == source
            local = record_r[here] - self._starts[source]
            row_rs[here] = self._sketches[source].signature_rows(local)
        return row_rs

    def _origin(self, record: int) -> Origin:
        source = int(np.searchsorted(self._starts, record, side="right")) - 1
        return self._sketches[source].origin(record - int(self._starts[source]))


def _earlier(key_r: Keys, record_r: Records) -> tuple[Records, Records]:
    """The first record with the same key, and the one right before; itself where it is the first.

    Keys are sorted, and the records of one key.
    """
    if len(key_r) == 0:
        return record_r, record_r
    is_first_r = np.append(True, key_r[1:] != key_r[:-1])
    first_r = record_r[np.flatnonzero(is_first_r)][np.cumsum(is_first_r) - 1]
    before_r = np.where(is_first_r, record_r, np.roll(record_r, 1))
    return first_r, before_r


class _Bits:
    """One bit a record."""

    def __init__(self, size: int) -> None:
        self._bytes = np.zeros(-(-size // 8), dtype=np.uint8)

    def __getitem__(self, record_r: Records) -> Bool[np.ndarray, " r"]:
        return np.asarray((self._bytes[record_r >> 3] >> (record_r & 7)) & 1, dtype=bool)

    def set(self, record_r: Records) -> None:
        np.bitwise_or.at(self._bytes, record_r >> 3, (1 << (record_r & 7)).astype(np.uint8))

    def include(self, other: "_Bits") -> None:
        self._bytes |= other._bytes
