"""How much a source holds: read to its end, or for a while and carried on by its files' bytes."""

import gzip
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import zstandard

from dids.check.token_estimate import TokenEstimate
from dids.data.byte_streams import LARGEST_WINDOW, numbered_lines
from dids.data.hub import is_hub_path
from dids.data.python_corpus import is_python_path
from dids.data.readers import read_records
from dids.data.records import OnBadRecord, Origin, Purpose, Record
from dids.data.sources import SourceFiles, files_of, format_of

READ_S = 15.0
"""Seconds of reading, over all sources of a plan."""
_PROBED_BYTES = 8 << 20
"""Of a compressed file, to see how far it unpacks."""


@dataclass(frozen=True)
class Volume:
    """What a source holds.

    Attributes:
        name: Of the source.
        records: In all.
        characters: In all.
        read_s: What reading all of it takes.
        share: Of its bytes that were read; what is said of the rest is extrapolated.
        estimate: Has drawn some records evenly from what was read.
    """

    name: str
    records: float
    characters: float
    read_s: float
    share: float
    estimate: TokenEstimate

    @property
    def is_whole(self) -> bool:
        """Whether it was read to its end."""
        return self.share == 1.0


def volumes(
    sources: Sequence[SourceFiles],
    *,
    seed: int,
    purpose: Purpose = "train",
    on_bad_record: OnBadRecord = "stop",
    seconds: float = READ_S,
    progress: Callable[[float], None] = lambda amount: None,
    now: Callable[[], float] = time.perf_counter,
) -> list[Volume]:
    """Read sources, each to its end or for its share of the seconds.

    Args:
        sources: Which.
        seed: Of the draw of records.
        purpose: As of `dids.data.readers.read_records`.
        on_bad_record: As there.
        seconds: For all of them together, at most; data sets of the hub and of Python are read to
            their end.
        progress: Called with 1 after every source.
        now: The clock of what reading takes, in seconds.

    Raises:
        InputError: If a file is missing, unreadable or cut off, or a record is bad.
    """
    found = []
    ends_s = time.perf_counter() + seconds
    for place, source in enumerate(sources):
        left_s = max(0.1, ends_s - time.perf_counter()) / (len(sources) - place)
        records = read_records(source, purpose=purpose, on_bad_record=on_bad_record)
        found.append(_volume(source, records, seed, left_s, now))
        progress(1)
    return found


def _volume(
    source: SourceFiles,
    records: Iterator[Record],
    seed: int,
    seconds: float,
    now: Callable[[], float],
) -> Volume:
    estimate = TokenEstimate(seed)
    has_end = any(is_hub_path(path) or is_python_path(path) for path in source.paths)
    began_s, ends_s, share = now(), time.perf_counter() + seconds, 1.0
    for record in records:
        estimate.look(record)
        if not has_end and time.perf_counter() > ends_s:
            share = share_read(source, record.origin)
            break
    read_s = now() - began_s
    return Volume(
        source.name,
        estimate.num_records / share,
        estimate.num_characters / share,
        read_s / share,
        share,
        estimate,
    )


def share_read(source: SourceFiles, last: Origin) -> float:
    """How far a record is from the beginning of its source, about: a fraction of the bytes.

    Args:
        source: Of files.
        last: Where the record stands.

    Returns:
        Above 0 and at most 1.
    """
    files = files_of(source)
    sizes = [file.stat().st_size for file in files]
    place = files.index(Path(last.file))
    done = sum(sizes[:place]) + sizes[place] * _share_of_file(
        files[place], format_of(files[place], source.format), last.line
    )
    return min(1.0, max(done, 1) / max(sum(sizes), 1))


def _share_of_file(file: Path, kind: str, line: int) -> float:
    if kind == "parquet":
        return line / max(1, int(pq.read_metadata(file).num_rows))
    if kind == "text":
        return 1.0
    end = next((o + len(raw) for number, o, raw in numbered_lines(file) if number == line), 0)
    return end / max(1.0, file.stat().st_size * _expansion(file))


def _expansion(file: Path) -> float:
    """Bytes that a byte of a file unpacks to, from its first megabytes."""
    ending = file.suffix.lower()
    if ending not in (".gz", ".zst"):
        return 1.0
    with file.open("rb") as packed:
        if ending == ".gz":
            with gzip.GzipFile(fileobj=packed) as unpacked:
                num_bytes = len(unpacked.read(_PROBED_BYTES))
        else:
            unpacker = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
            reader = unpacker.stream_reader(packed, read_across_frames=True)
            num_bytes = len(reader.read(_PROBED_BYTES))
        return num_bytes / max(1, packed.tell())
