"""A file of a run that is made once and used again, with a mark beside it that says of what."""

from pathlib import Path

from dids.atomic import read_json, write_json
from dids.checksum import file_checksum


def is_kept(path: Path, key: str) -> bool:
    """Whether the file is there, as it was written, and was made of the same.

    Args:
        path: The file; its mark bears the ending ``.json`` in place of its own.
        key: A hash of what it is made of.
    """
    mark = _mark(path)
    is_there = path.is_file() and mark.is_file()
    return is_there and bool(read_json(mark) == _facts(path, key))


def mark_kept(path: Path, key: str) -> None:
    """Say of a file that was just written what it is made of; only now it counts."""
    write_json(_mark(path), _facts(path, key))


def _mark(path: Path) -> Path:
    return path.with_suffix(".json")


def _facts(path: Path, key: str) -> dict[str, str]:
    return {"key": key, "sha256": file_checksum(path)}
