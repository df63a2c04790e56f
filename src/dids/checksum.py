"""Checksums, by which a truncated, exchanged or rotten file is found."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BLOCK_BYTES = 1 << 20


def file_checksum(path: Path, *, start: int = 0) -> str:
    """SHA-256 of a file, 64 hexadecimal digits; about a second for two gigabytes.

    Args:
        path: The file, read a block at a time.
        start: Bytes to leave out in front.

    Raises:
        OSError: If it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def is_damaged(path: Path, checksum: str) -> bool:
    """Whether a file is missing, or is not the one that the checksum was taken of.

    Args:
        path: The file.
        checksum: What `file_checksum` has said of it.

    Raises:
        OSError: If it is there but cannot be read.
    """
    return not path.is_file() or file_checksum(path) != checksum


def seal(values: Mapping[str, Any]) -> str:
    """SHA-256 of everything that a mapping for a JSON file says, to be written beside it.

    Example:
        >>> seal({"a": 1, "b": [2]}) == seal({"b": [2], "a": 1}) != seal({"a": 1, "b": [3]})
        True
    """
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
