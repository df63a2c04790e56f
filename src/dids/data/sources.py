"""Where records come from: files, globs, folders, hub data sets and the built-in Python corpus."""

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dids.checksum import file_checksum
from dids.data import hub, python_corpus
from dids.data.byte_streams import COMPRESSIONS
from dids.data.records import Half
from dids.errors import InputError

JSONL_ENDINGS = (".jsonl", ".json", ".ndjson")
FORMATS = ("jsonl", "parquet", "text")


@dataclass(frozen=True)
class SourceFiles:
    """A named set of places to read records from."""

    name: str
    paths: tuple[str, ...]
    """Each a file, a glob, a folder, ``hf:NAME[:CONFIG][:SPLIT]`` or ``python:PART[:SPLIT]``."""
    format: str | None = None
    """One of `FORMATS`; None: by each file's ending."""
    title: str | None = None
    """How errors call it; None: a source by its name."""
    half: Half | None = None
    """Of the records, that which `read_records` yields; None: all."""

    @property
    def called(self) -> str:
        """What an error begins with."""
        return self.title or f"Source '{self.name}'"


def files_of(source: SourceFiles) -> list[Path]:
    """Every file that a source reads.

    Args:
        source: The source. Hub data sets have no files of the user's and add none.

    Returns:
        The files, those of one path sorted, none twice.

    Raises:
        InputError: If a path names nothing, or a folder or the source is empty.
    """
    if not source.paths:
        raise InputError(f"{source.called} names no path; give it a file, a glob or a folder.")
    files = [file for path in source.paths for file in files_of_path(path, source.called)]
    return list(dict.fromkeys(files))


def files_of_path(path: str, called: str) -> list[Path]:
    """The files of one path of a source, sorted.

    Args:
        path: One of a source's paths.
        called: What an error begins with.

    Returns:
        The files below a folder (hidden ones left out), the matches of a glob, or the file itself.

    Raises:
        InputError: If the path names nothing, or the name of a file is not UTF-8: names are hashed
            and written down as text.
    """
    if hub.is_hub_path(path):
        return []
    if python_corpus.is_python_path(path):
        return python_corpus.corpus_files(path)
    files = _found_files(path, called)
    bad = next((file for file in files if not _is_utf8(str(file))), None)
    if bad is not None:
        raise InputError(
            f"{called}: the name of the file {os.fsencode(bad)!r} is not UTF-8; rename it."
        )
    return files


def _found_files(path: str, called: str) -> list[Path]:
    if not path.strip():
        raise InputError(f"{called}: its path is empty; name a file or folder (. is this one).")
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if _is_visible_file(file, place))
        if not files:
            raise InputError(f"{called}: the folder {path} has no file in it.")
        return files
    if any(character in path for character in "*?["):
        matches = (Path(match) for match in glob.glob(str(place), recursive=True))  # noqa: PTH207
        files = sorted(match for match in matches if match.is_file())
        if not files:
            raise InputError(f"{called}: no file matches {path}.")
        return files
    raise InputError(f"{called}: there is no file or folder {path}.")


def format_of(file: Path, source_format: str | None) -> str:
    """How a file is read: as its source says, or by its ending.

    Args:
        file: The file.
        source_format: The source's ``format``.

    Returns:
        ``"jsonl"``, ``"parquet"`` or ``"text"`` (any other ending).

    Raises:
        InputError: If ``source_format`` is not one of `FORMATS`.

    Example:
        >>> format_of(Path("chats.jsonl.gz"), None), format_of(Path("notes.md"), None)
        ('jsonl', 'text')
    """
    if source_format is not None:
        if source_format not in FORMATS:
            raise InputError(
                f"Field 'format' must be one of {', '.join(FORMATS)}, but it is '{source_format}'."
            )
        return source_format
    name = file.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    if name.endswith(JSONL_ENDINGS):
        return "jsonl"
    return "parquet" if name.endswith(".parquet") else "text"


def content_hash(source: SourceFiles) -> str:
    """SHA-256 over everything a source would read: it changes when the content does.

    Args:
        source: The source; its files are streamed through the hash.

    Returns:
        64 hexadecimal digits: a function of file names and bytes, not of the folder.

    Raises:
        InputError: If a path names nothing or cannot be read.
    """
    if not source.paths:
        files_of(source)  # raises the sentence
    digest = hashlib.sha256()
    for path in source.paths:
        for piece in _hashed_pieces(path, source):
            digest.update(len(piece).to_bytes(8, "little") + piece)
    if source.half is not None:
        digest.update(source.half.encode())
    return digest.hexdigest()


def _hashed_pieces(path: str, source: SourceFiles) -> Iterator[bytes]:
    if hub.is_hub_path(path):
        yield path.encode()
        _, rows = hub.hub_rows(path)
        yield from (json.dumps(row, default=str).encode() for row in rows)
    elif python_corpus.is_python_path(path):
        yield path.encode()
        yield python_corpus.corpus_hash(path).encode()
    else:
        for file in files_of_path(path, source.called):
            yield f"{file.name}:{format_of(file, source.format)}".encode()
            yield _file_hash(file)


def _file_hash(file: Path) -> bytes:
    try:
        return file_checksum(file).encode()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.") from error


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair stands for a byte that is none
        return False
    return True


def _is_visible_file(file: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.is_file() and not is_hidden
