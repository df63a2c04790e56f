"""Records, one after the other, from everything a source names."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from dids.data import hub, python_corpus
from dids.data.byte_streams import byte_chunks, numbered_lines
from dids.data.record_fields import KNOWN_FIELDS, RecordError, kind_of, record_from_fields
from dids.data.records import BadRecord, OnBadRecord, Origin, Purpose, Record
from dids.data.sources import SourceFiles, files_of_path, format_of
from dids.errors import InputError

ROWS_PER_BATCH = 1024

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
        raise InputError(
            f"Source '{source.name}' names no path; give it a file, a glob or a folder."
        )
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
            if bad_records is not None:
                bad_records.append(bad)
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
        else f"; the first bad one: line {first_bad.line}, {first_bad.reason}"
    )
    raise InputError(
        f"Source '{source.name}' ({', '.join(source.paths)}) has no usable record{why}."
    )


def raw_records(source: SourceFiles, *, known_only: bool = False) -> Iterator[RawRecord]:
    """Yield what stands in a source, unchecked: every field of every record, in their order.

    Args:
        source: What to read.
        known_only: Whether the values of columns of Parquet files that no record is made of may
            be left out, and with them the cost and the damage of such a column.

    Yields:
        Where a record stands with its fields, or with the reason why it has none.

    Raises:
        InputError: If a file is missing, unreadable or cut off.
    """
    seen: set[Path] = set()
    for path in source.paths:
        if hub.is_hub_path(path):
            for number, row in enumerate(hub.hub_rows(path), start=1):
                yield Origin(path, number), row
        elif python_corpus.is_python_path(path):
            for origin, text in python_corpus.corpus_texts(path):
                yield origin, {"text": text}
        else:
            for file in files_of_path(path, source.name):
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
                        if known_only and kind_of(row) is None:
                            # Why it is no record is said with the names of all its fields.
                            row = {name: row.get(name, _UNREAD) for name in names}
                        yield Origin(str(file), number), row
    # What Arrow has read may still have no value in Python: a time zone that nobody knows
    # (KeyError), a time after the year 9999 (ValueError, OverflowError), a text that is not UTF-8.
    except (OSError, pyarrow.ArrowException, ValueError, OverflowError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, KeyError):  # says no more than the name
            reason = f"{reason} is not known here"
        raise InputError(
            f"{file} cannot be read as Parquet after row {number}, in row group {group}: {reason}."
        ) from error


def _text_records(file: Path) -> Iterator[RawRecord]:
    content = b"".join(byte_chunks(file))
    try:
        yield Origin(str(file), 1), {"text": content.decode("utf-8-sig")}
    except UnicodeDecodeError as error:
        # utf-8-sig counts from behind the byte order mark.
        at = error.start + (3 if content.startswith(b"\xef\xbb\xbf") else 0)
        line = content.count(b"\n", 0, at) + 1
        yield (
            Origin(str(file), line),
            RecordError(f"the text is not UTF-8 at byte {at} of the file"),
        )


_READERS: dict[str, Callable[[Path], Iterator[RawRecord]]] = {
    "jsonl": _jsonl_records,
    "text": _text_records,
}
