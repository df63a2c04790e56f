"""What is kept of a source's records to find duplicates: 140 bytes a record, on disk.

A MinHash signature of 128 places (Broder 1997) over the record's runs of five words, by rensa, a
library in Rust without dependencies of its own. Of each place the lowest byte is kept: two bytes of
different minima agree once in 256, which the estimate takes away again (b-bit minwise hashing, Li
and König 2010, arXiv:0910.3349). Beside it a hash of the whole text and the line.

Axes: r records; s places of a signature.
"""

from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64, UInt8, UInt64
from rensa import RMinHash

from dids.check.words import WordBatch
from dids.data.array_file import HEADER_BYTES, ArrayWriter, array_checksum
from dids.data.records import Origin

SHINGLE_WORDS = 5
"""As in FineWeb and text-dedup. A shorter text is one shingle."""
SIGNATURE_BYTES = 128
_SEED = 0
_RECORDS_AT_ONCE = 256  # rensa's rows pass through Python's integers: what stays in cache is fast

ARRAY_TYPES = {"signatures": "u1", "wholes": "<u8", "lines": "<u4"}


def signatures(batch: WordBatch) -> UInt8[np.ndarray, " r s"]:
    """MinHash signatures of texts.

    Args:
        batch: Their words.

    Returns:
        One row a text; of a text without words it means nothing.
    """
    _, hash_a = batch.runs(SHINGLE_WORDS)
    num_shingles_r = np.maximum(batch.counts - (SHINGLE_WORDS - 1), 0)
    if short := np.flatnonzero(num_shingles_r == 0).tolist():
        ends_r = np.cumsum(num_shingles_r)
        hash_a = np.insert(hash_a, ends_r[short], batch.wholes()[short])
        num_shingles_r[short] = 1
    offsets = np.zeros(len(batch) + 1, dtype=np.uint64)
    np.cumsum(num_shingles_r, out=offsets[1:])
    rows = np.empty((len(batch), SIGNATURE_BYTES), dtype=np.uint8)
    for first in range(0, len(batch), _RECORDS_AT_ONCE):
        part = offsets[first : first + _RECORDS_AT_ONCE + 1]
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            hash_a[part[0] : part[-1]], part - part[0], SIGNATURE_BYTES, _SEED
        )
        rows[first : first + len(part) - 1] = np.array(matrix.to_rows(), dtype=np.uint32) & 0xFF
    return rows


def similarity(
    one_rs: UInt8[np.ndarray, " r s"], other_rs: UInt8[np.ndarray, " r s"]
) -> Float[np.ndarray, " r"]:
    """Estimated Jaccard similarity of the texts behind two signatures, row by row.

    Its standard error is at most ``sqrt(0.25 / 128)``, 0.044; 0.035 where it is 0.8.
    """
    agreeing_r = (one_rs == other_rs).mean(axis=1)
    return np.asarray(np.maximum(0.0, (agreeing_r - 1 / 256) / (1 - 1 / 256)))


class SketchWriter:
    """Writes the sketches of one source as its records pass.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._writers = {
            name: ArrayWriter(folder / f"{name}.npy", dtype) for name, dtype in ARRAY_TYPES.items()
        }
        self._files: list[tuple[str, int]] = []

    def append(self, origins: Sequence[Origin], batch: WordBatch, *, with_signatures: bool) -> None:
        """Keep the sketches of a batch.

        Args:
            origins: Where its records were read.
            batch: Their words.
            with_signatures: Whether near-duplicates will be looked for.
        """
        num_before = self._writers["lines"].size
        for number, origin in enumerate(origins):
            if not self._files or self._files[-1][0] != origin.file:
                self._files.append((origin.file, num_before + number))
        self._writers["wholes"].append(batch.wholes())
        self._writers["lines"].append([origin.line for origin in origins])
        if with_signatures:
            self._writers["signatures"].append(signatures(batch).ravel())

    def finish(self) -> dict[str, object]:
        """Close the files.

        Returns:
            What `Sketches` needs: the files with their first record, and checksums.
        """
        checksums = {name: writer.finish() for name, writer in self._writers.items()}
        return {"files": self._files, "checksums": checksums}

    def close(self) -> None:
        """Close the files as they are; only `finish` makes arrays of them."""
        for writer in self._writers.values():
            writer.abandon()


class Sketches:
    """The sketches of one source, read by blocks or rows and never as a whole.

    Args:
        folder: Where `SketchWriter` wrote.
        name: The source's name.
        num_records: Its records.
        files: Each file with the number of its first record.
    """

    def __init__(
        self, folder: Path, name: str, num_records: int, files: Sequence[tuple[str, int]]
    ) -> None:
        self.name = name
        self.num_records = num_records
        self.folder = folder
        self._files = files
        self._first_records = [first for _, first in files]

    def wholes(self, first: int, stop: int) -> UInt64[np.ndarray, " r"]:
        """Hashes of the whole texts of records ``first`` to ``stop``."""
        return self._read("wholes", first, stop, 1).view("<u8")

    def signatures(self, first: int, stop: int) -> UInt8[np.ndarray, " r s"]:
        """Signatures of records ``first`` to ``stop``."""
        size = SIGNATURE_BYTES
        return self._read("signatures", first, stop, size).reshape(-1, size)

    def signature_rows(self, record_r: Int64[np.ndarray, " r"]) -> UInt8[np.ndarray, " r s"]:
        """Signatures of single records, in the order asked for."""
        row_rs = np.empty((len(record_r), SIGNATURE_BYTES), dtype=np.uint8)
        with self._open("signatures") as file:
            for row_s, record in zip(row_rs, record_r.tolist(), strict=True):
                file.seek(HEADER_BYTES + record * SIGNATURE_BYTES)
                file.readinto(row_s.data)
        return row_rs

    def origins(self, record_r: Int64[np.ndarray, " r"]) -> list[Origin]:
        """Where records were read; they are ascending, and not far apart."""
        if len(record_r) == 0:
            return []
        first = int(record_r[0])
        lines = self._read("lines", first, int(record_r[-1]) + 1, 1).view("<u4")
        file_r = np.searchsorted(self._first_records, record_r, side="right") - 1
        return [
            Origin(self._files[file][0], line)
            for file, line in zip(file_r.tolist(), lines[record_r - first].tolist(), strict=True)
        ]

    def origin(self, record: int) -> Origin:
        """Where a record was read."""
        return self.origins(np.array([record]))[0]

    def _read(self, name: str, first: int, stop: int, width: int) -> np.ndarray:
        size = np.dtype(ARRAY_TYPES[name]).itemsize * width
        with self._open(name) as file:
            file.seek(HEADER_BYTES + first * size)
            return np.fromfile(file, dtype=np.uint8, count=(stop - first) * size)

    def _open(self, name: str) -> FileIO:
        # Read, not mapped: mapped pages would count as this process's memory.
        return (self.folder / f"{name}.npy").open("rb", buffering=0)


def is_whole(folder: Path, checksums: dict[str, str]) -> bool:
    """Whether the arrays of a source are as they were written."""
    return all(array_checksum(folder / f"{name}.npy") == checksums[name] for name in ARRAY_TYPES)
