"""How many records a file has, for forms whose weights are fractions of files."""

from pathlib import Path

from pyarrow import parquet

from dids.data.byte_streams import numbered_lines
from dids.data.sources import format_of
from dids.errors import InputError


def num_records(files: tuple[str, ...], where: Path) -> int:
    """Records of JSONL or Parquet files together.

    Args:
        files: The files.
        where: The file that names them, for the message.

    Raises:
        InputError: If one is not there.
    """
    total = 0
    for name in files:
        file = Path(name)
        if not file.is_file():
            raise InputError(
                f"{where}: the weights are fractions of files, so their records must be counted, "
                f"but there is no file {name}."
            )
        if format_of(file, None) == "parquet":
            total += parquet.read_metadata(file).num_rows
        else:
            total += sum(1 for _, _, line in numbered_lines(file) if line.strip())
    return total
