"""The bytes and lines of a file, plain or compressed (.gz, .zst), a chunk at a time."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import zstandard

from dids.errors import InputError

CHUNK_BYTES = 1 << 20
COMPRESSIONS = (".gz", ".zst")
LARGEST_WINDOW = 1 << 31
"""Bytes that a .zst archive may look back: all that ``zstd --long=31`` makes. It is not memory that
is taken before an archive asks for it."""


def byte_chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, decompressed by its ending.

    Args:
        path: A file; ``.gz`` and ``.zst`` are decompressed.

    Yields:
        Pieces of the content, none empty.

    Raises:
        InputError: If the file cannot be read, or the archive is damaged or cut off.
    """
    opened = {".gz": _gzip_chunks, ".zst": _zstandard_chunks}.get(
        path.suffix.lower(), _plain_chunks
    )
    try:
        yield from opened(path)
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise InputError(
            f"{path} is a damaged or cut-off {path.suffix} archive ({error}); "
            "fetch or compress it again."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def numbered_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield a file's lines, with their numbers and the offsets at which they begin.

    Args:
        path: A file, plain or compressed.

    Yields:
        Line number from 1, offset of its first byte in the decompressed file, and its bytes without
        the newline. Only the newline character ends a line.
    """
    number, offset = 0, 0
    begun: list[bytes] = []  # joined at its end alone: a line may be as long as its file
    for chunk in byte_chunks(path):
        first, *others = chunk.split(b"\n")
        begun.append(first)
        if not others:
            continue
        *lines, rest = b"".join(begun), *others
        for line in lines:
            number += 1
            yield number, offset, line
            offset += len(line) + 1
        begun = [rest]
    if last := b"".join(begun):
        yield number + 1, offset, last


def _plain_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _gzip_chunks(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _zstandard_chunks(path: Path) -> Iterator[bytes]:
    # zstandard's stream_reader ends a cut-off frame without a word, so the frames are walked here.
    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
    frame = decompressor.decompressobj()
    is_inside = True  # an empty file is a cut-off archive too
    for piece in _plain_chunks(path):
        rest = piece
        while rest:
            if not is_inside:
                frame = decompressor.decompressobj()
                is_inside = True
            if content := frame.decompress(rest):
                yield content
            rest = frame.unused_data
            is_inside = not frame.eof
    if is_inside:
        raise EOFError("the last frame has no end")
