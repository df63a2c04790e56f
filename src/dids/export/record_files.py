"""Files of records, filled side by side as the records come: JSONL or Parquet.

Rows wait in memory until a file has `ROWS_PER_WRITE` of them or all files together
`BYTES_IN_MEMORY`, so memory does not grow with the records.
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from dids.data.records import Origin
from dids.errors import InputError

ROWS_PER_WRITE = 4096
BYTES_IN_MEMORY = 64 << 20
"""By the length of the rows as JSON, which is near enough."""

Row = tuple[Origin, Mapping[str, Any]]


class RecordFiles(ABC):
    """Files of one format in one folder.

    Args:
        folder: Where they are made.
    """

    ending: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, list[Row]] = {}
        self._num_bytes: Counter[str] = Counter()

    def add(self, stem: str, origin: Origin, fields: Mapping[str, Any]) -> None:
        """Put a record at the end of the file of this name.

        Raises:
            InputError: If the format cannot hold it.
        """
        self._rows.setdefault(stem, []).append((origin, fields))
        self._num_bytes[stem] += _size(fields)
        if len(self._rows[stem]) >= ROWS_PER_WRITE:
            self._write_waiting(stem)
        elif self._num_bytes.total() >= BYTES_IN_MEMORY:
            self._write_waiting(*self._rows)

    def close(self) -> None:
        """Write what waits, and finish the files."""
        self._write_waiting(*self._rows)

    def path(self, stem: str) -> Path:
        """The file of a name."""
        return self.folder / f"{stem}{self.ending}"

    def _write_waiting(self, *stems: str) -> None:
        for stem in stems:
            self._write(stem, self._rows.pop(stem))
            del self._num_bytes[stem]

    @abstractmethod
    def _write(self, stem: str, rows: Sequence[Row]) -> None:
        """Append rows to a file."""


class JsonlFiles(RecordFiles):
    """One JSON object a line."""

    ending = ".jsonl"

    def _write(self, stem: str, rows: Sequence[Row]) -> None:
        lines = [_json_line(origin, fields) for origin, fields in rows]
        with self.path(stem).open("ab") as file:
            file.writelines(lines)


class ParquetFiles(RecordFiles):
    """Tables whose columns are all fields of all records.

    Args:
        folder: Where they are made.
        types: What `ColumnTypes` has gathered of the same records before.
    """

    ending = ".parquet"

    def __init__(self, folder: Path, types: "ColumnTypes") -> None:
        super().__init__(folder)
        self._schema = types.schema
        self._writers: dict[str, parquet.ParquetWriter] = {}

    def close(self) -> None:
        """Write what waits, and the tables' ends."""
        super().close()
        for writer in self._writers.values():
            writer.close()

    def _write(self, stem: str, rows: Sequence[Row]) -> None:
        if stem not in self._writers:
            self._writers[stem] = parquet.ParquetWriter(
                self.path(stem), self._schema, compression="zstd"
            )
        values = [dict(fields) for _, fields in rows]
        array = pyarrow.array(values, type=pyarrow.struct(list(self._schema)))
        self._writers[stem].write_batch(pyarrow.RecordBatch.from_struct_array(array))


class ColumnTypes:
    """The columns that hold every record, found by looking at all of them once."""

    def __init__(self) -> None:
        self.schema = pyarrow.schema([])
        self._rows: list[Row] = []
        self._num_bytes = 0

    def add(self, origin: Origin, fields: Mapping[str, Any]) -> None:
        """Take a record's fields in."""
        self._rows.append((origin, fields))
        self._num_bytes += _size(fields)
        if len(self._rows) >= ROWS_PER_WRITE or self._num_bytes >= BYTES_IN_MEMORY:
            self.finish()

    def finish(self) -> None:
        """Take in what waits.

        Raises:
            InputError: If a field is of one type here and of another there.
        """
        rows, self._rows, self._num_bytes = self._rows, [], 0
        if not rows:
            return
        try:
            found = pyarrow.array([dict(fields) for _, fields in rows]).type
            schemas = [self.schema, pyarrow.schema(list(found))]
            self.schema = pyarrow.unify_schemas(schemas, promote_options="permissive")
        except (pyarrow.ArrowException, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{rows[0][0].file}, lines {rows[0][0].line} to {rows[-1][0].line}: the fields do "
                f"not fit into one table ({reason}); export with --to jsonl."
            ) from error


def _json_line(origin: Origin, fields: Mapping[str, Any]) -> bytes:
    try:
        return f"{json.dumps(fields, ensure_ascii=False)}\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only write escaped
        return f"{json.dumps(fields)}\n".encode()
    except TypeError:
        name, kind = next(
            (name, type(value).__name__) for name, value in fields.items() if not _is_json(value)
        )
        raise InputError(
            f"{origin}: field '{name}' holds a {kind}, which JSON has no form for; export with "
            "--to parquet."
        ) from None


def _is_json(value: Any) -> bool:  # noqa: ANN401
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _size(fields: Mapping[str, Any]) -> int:
    """Bytes that a record takes, near enough: its strings, and a word for all else."""
    total = 0
    stack: list[Any] = list(fields.values())
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, Mapping):
            stack += value.values()
        elif isinstance(value, list | tuple):
            stack += value
        else:
            total += 8
    return total + 50 * len(fields)
