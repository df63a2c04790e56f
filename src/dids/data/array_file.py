"""One-dimensional ``.npy`` files that grow while they are written, and are read memory-mapped.

NumPy's own writer needs the length first. Here the header gets a fixed place that is filled at
the end, so nothing is held in memory, and a checksum is taken on the way.
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from dids.checksum import file_checksum

HEADER_BYTES = 128
"""Magic, version and length take 10 bytes; the longest description of one axis takes about 70."""


class ArrayWriter:
    """Appends to one ``.npy`` file."""

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        """Open the file and leave room for the header.

        Args:
            path: The file to write.
            dtype: Type of the entries.
        """
        self.dtype = np.dtype(dtype)
        self.size = 0
        self._digest = hashlib.sha256()
        self._file = path.open("wb")
        self._file.write(b"\0" * HEADER_BYTES)

    def append(self, values: ArrayLike) -> None:
        """Write more entries.

        Args:
            values: A sequence of numbers that the type can hold.
        """
        array = np.asarray(values, dtype=self.dtype)
        content = array.tobytes()
        self._digest.update(content)
        self._file.write(content)
        self.size += array.size

    def finish(self) -> str:
        """Write the header and close the file.

        Returns:
            SHA-256 of the entries' bytes, in hexadecimal digits.
        """
        description = (
            f"{{'descr': '{self.dtype.str}', 'fortran_order': False, 'shape': ({self.size},), }}"
        )
        padded = description.encode().ljust(HEADER_BYTES - 11) + b"\n"
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded)
        self._file.close()
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Close the file as it is; it is no array then."""
        self._file.close()


def mapped_array(path: Path) -> np.ndarray:
    """A ``.npy`` file as a read-only memory map (an ordinary array if it is empty)."""
    # An empty file cannot be mapped.
    array = np.load(
        path, mmap_mode=None if path.stat().st_size <= HEADER_BYTES else "r", allow_pickle=False
    )
    return np.asarray(array) if array.size == 0 else array


def array_checksum(path: Path) -> str:
    """SHA-256 of the entries' bytes of a file that `ArrayWriter` wrote."""
    return file_checksum(path, start=HEADER_BYTES)
