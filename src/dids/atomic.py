"""Files that are written whole or not at all: to a neighbour first, then renamed into place."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dids.errors import DamagedFileError, first_line


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write to; the file becomes ``path`` when the block ends well, else it vanishes.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with whole_file(target) as unfinished:
        ...     _ = unfinished.write_text("a")
        >>> [file.name for file in target.parent.iterdir()]
        ['a.txt']
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        yield unfinished
        with unfinished.open("r+b") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write a JSON file."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1))


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Read a JSON file.

    Raises:
        DamagedFileError: If it is not valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFileError(
            f"{path} is damaged: not valid JSON ({first_line(error)}); bring it back as it was, or "
            "give the run another folder."
        ) from error


@contextmanager
def forgotten(path: Path) -> Iterator[None]:
    """Inside, a small file is gone; it is back, as it was, if the block raises.

    Example:
        >>> import tempfile
        >>> mark = Path(tempfile.mkdtemp()) / "done"
        >>> write_text(mark, "yes")
        >>> try:
        ...     with forgotten(mark):
        ...         raise ValueError(mark.exists())
        ... except ValueError as error:
        ...     print(error, mark.read_text())
        False yes
    """
    kept = path.read_text(encoding="utf-8") if path.exists() else None
    path.unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        if kept is not None and not path.exists():
            write_text(path, kept)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes ``path`` when the block ends well.

    It vanishes when the block raises.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "result"
        >>> with whole_folder(target) as folder:
        ...     write_text(folder / "a.txt", "a")
        >>> [file.name for file in target.iterdir()]
        ['a.txt']
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if path.exists():
        shutil.rmtree(path)
    unfinished.replace(path)
