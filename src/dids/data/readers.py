"""Records, one after the other, from everything a source names."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from dids.data import hub, python_corpus
from dids.data.byte_streams import byte_chunks, numbered_lines
from dids.data.record_fields import KNOWN_FIELDS, RecordError, kind_of, record_from_fields
from dids.data.records import (
    ROWS_PER_BATCH,
    BadRecord,
    OnBadRecord,
    Origin,
    Purpose,
    Record,
)
from dids.data.sources import SourceFiles, files_of_path, format_of
from dids.errors import InputError

LONGEST_TEXT = 1 << 22
"""Bytes of a text file that are one record, at most: a tokenizer takes 150 times their memory."""

_UNREAD = object()
"""Stands for a value that was left out."""

RawRecord = tuple[Origin, Mapping[str, Any] | RecordError]
"""A record's fields before they are checked, or why there are none."""


def read_records(
    source: SourceFiles,
    *,
    purpose: Purpose = "train",
    on_bad_record: OnBadRecord = "stop",
    bad_records: list[BadRecord] | None = None,
    may_be_empty: bool = False,
) -> Iterator[Record]:
    """Yield a source's records in the order of its paths, files and lines.

    Args:
        source: What to read.
        purpose: ``"train"`` needs a completion to every prompt; ``"task"`` does not.
        on_bad_record: ``"stop"`` raises on the first bad record, ``"skip"`` leaves it out.
        bad_records: Where skipped records are noted.
        may_be_empty: Whether there may be no record: the source is a part of another.

    Yields:
        Checked records; blank lines are passed over.

    Raises:
        InputError: If a file is missing, unreadable or cut off, a record is bad (with
            ``"stop"``), or there is no record at all.
    """
    if not source.paths:
        raise InputError(f"{source.called} names no path; give it a file, a glob or a folder.")
    num_good, first_bad = 0, None
    for origin, fields in raw_records(source, known_only=True):
        try:
            if isinstance(fields, RecordError):
                raise fields
            record = record_from_fields(fields, origin, purpose)
        except RecordError as error:
            if on_bad_record == "stop":
                raise InputError(f"{origin}: {error}.") from error
            bad = BadRecord(origin.file, origin.line, str(error))
            first_bad = first_bad or bad
            if bad_records is not None and source.half != "second":  # a file's is told of once
                bad_records.append(bad)
            continue
        if source.half is not None and record.half != source.half:
            continue
        num_good += 1
        yield record
    if num_good == 0 and not may_be_empty:
        refuse_no_record(source, first_bad)


def refuse_no_record(source: SourceFiles, first_bad: BadRecord | None) -> NoReturn:
    """Say that a source has no record at all.

    Raises:
        InputError: Always.
    """
    why = (
        ""
        if first_bad is None
        else f"; the first bad one: {first_bad.file}, line {first_bad.line}, {first_bad.reason}"
    )
    where = f"{source.called} ({', '.join(source.paths)})"
    if source.half is not None:
        where += f": of two halves the {source.half}"
        why += "; give more records, or a test of its own"
    raise InputError(f"{where} has no usable record{why}.")


def raw_records(source: SourceFiles, *, known_only: bool = False) -> Iterator[RawRecord]:
    """Yield what stands in a source, unchecked: every field of every record, in their order.

    Args:
        source: What to read.
        known_only: Whether the values of columns of Parquet files and hub data sets that no record
            is made of may be left out, and with them the cost and the damage of such a column.

    Yields:
        Where a record stands with its fields, or with the reason why it has none.

    Raises:
        InputError: If a file is missing, unreadable or cut off.
    """
    seen: set[Path] = set()
    for path in source.paths:
        if hub.is_hub_path(path):
            names, rows = hub.hub_rows(path, KNOWN_FIELDS if known_only else None)
            for number, row in enumerate(rows, start=1):
                yield Origin(path, number), _named(row, names) if known_only else row
        elif python_corpus.is_python_path(path):
            for origin, text in python_corpus.corpus_texts(path):
                yield origin, {"text": text}
        else:
            for file in files_of_path(path, source.called):
                if file not in seen:
                    seen.add(file)
                    kind = format_of(file, source.format)
                    if kind == "parquet":
                        yield from _parquet_records(file, known_only)
                    else:
                        yield from _READERS[kind](file)


def _jsonl_records(file: Path) -> Iterator[RawRecord]:
    for number, offset, raw in numbered_lines(file):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if line.strip():
            yield Origin(str(file), number), _json_fields(line, offset + len(raw) - len(line))


def _json_fields(line: bytes, offset: int) -> Mapping[str, Any] | RecordError:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return RecordError(f"the text is not UTF-8 at byte {offset + error.start} of the file")
    except (ValueError, RecursionError) as error:
        hint = (
            ", and a file of one JSON array must become one object a line"
            if line[:1] == b"["
            else ""
        )
        return RecordError(f"the line is not JSON ({error}){hint}")
    if isinstance(value, dict):
        return value
    return RecordError(f"the line must be a JSON object, not a {type(value).__name__}")


def _parquet_records(file: Path, known_only: bool) -> Iterator[RawRecord]:
    import pyarrow
    from pyarrow import parquet

    number, group = 0, 0
    try:
        with parquet.ParquetFile(file) as table:
            names = table.schema_arrow.names
            columns = [n for n in names if n in KNOWN_FIELDS] if known_only else None
            for group in range(table.num_row_groups):
                for batch in table.iter_batches(ROWS_PER_BATCH, [group], columns):
                    for row in batch.to_pylist():
                        number += 1
                        yield Origin(str(file), number), _named(row, names) if known_only else row
    # What Arrow has read may still have no value in Python: a time zone that nobody knows
    # (KeyError), a time after the year 9999 (ValueError, OverflowError), a text that is not UTF-8.
    except (OSError, pyarrow.ArrowException, ValueError, OverflowError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, KeyError):  # says no more than the name
            reason = f"{reason} is not known here"
        raise InputError(
            f"{file} cannot be read as Parquet after row {number}, in row group {group}: {reason}."
        ) from error


def _named(row: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    """A row of known columns alone; with the names of all if it is no record, to say why."""
    if kind_of(row) is not None:
        return row
    return {name: row.get(name, _UNREAD) for name in names}


def _text_records(file: Path) -> Iterator[RawRecord]:
    line = 1
    for offset, piece in _pieces(byte_chunks(file)):
        origin = Origin(str(file), line)
        try:
            yield origin, {"text": piece.decode("utf-8" if offset else "utf-8-sig")}
        except UnicodeDecodeError as error:
            # utf-8-sig counts from behind the byte order mark.
            is_marked = not offset and piece.startswith(b"\xef\xbb\xbf")
            at = error.start + (3 if is_marked else 0)
            yield (
                replace(origin, line=line + piece.count(b"\n", 0, at)),
                RecordError(f"the text is not UTF-8 at byte {offset + at} of the file"),
            )
        line += piece.count(b"\n")


def _pieces(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """A text in records that a tokenizer has memory for, and where each begins.

    They end with a line; with a word, or a character, where lines are longer than half a record.
    """
    offset, rest = 0, b""
    for chunk in chunks:
        rest += chunk
        while len(rest) > LONGEST_TEXT:
            stop = _cut(rest)
            yield offset, rest[:stop]
            offset, rest = offset + stop, rest[stop:]
    if rest.strip() or not offset:
        yield offset, rest


def _cut(text: bytes) -> int:
    """Where the first record of a longer text ends."""
    for end in (b"\n", b" "):
        found = text.rfind(end, LONGEST_TEXT // 2, LONGEST_TEXT)
        if found >= 0:
            return found + 1
    stop = LONGEST_TEXT
    while stop > LONGEST_TEXT - 4 and text[stop] & 0xC0 == 0x80:  # inside a character
        stop -= 1
    return stop


_READERS: dict[str, Callable[[Path], Iterator[RawRecord]]] = {
    "jsonl": _jsonl_records,
    "text": _text_records,
}
