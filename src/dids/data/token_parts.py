"""A large source in parts: each tokenised by itself, anywhere, then joined to what one pass gives.

A part is a few whole files, cut by their sizes: a function of the source alone, so that it does not
matter how many workers there are, and a lost one costs a part.

Axes: n samples of a part.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dids.data import hub, python_corpus
from dids.data.array_file import ArrayWriter, mapped_array
from dids.data.readers import read_records, refuse_no_record
from dids.data.records import BadRecord, OnBadRecord, Purpose
from dids.data.rendering import PromptFormat
from dids.data.sources import SourceFiles, files_of_path
from dids.data.token_samples import ARRAY_TYPES
from dids.data.token_store import (
    TokenStore,
    open_token_store,
    refuse_no_sample,
    whole_store,
    write_meta,
    write_token_store,
)
from dids.data.tokenizer import load_tokenizer
from dids.errors import InputError

PART_BYTES = 256 << 20
"""Of files on disk; a larger file is a part of its own. Some minutes of tokenising on one core."""
_ENTRIES_PER_COPY = 1 << 20


@dataclass(frozen=True)
class PlannedStore:
    """A token store that is to be written."""

    source: SourceFiles
    purpose: Purpose
    folder: Path
    key: str
    is_part: bool = False
    """Whether it holds a few files of a source, perhaps without one sample."""

    def __str__(self) -> str:
        return f"tokens of '{self.source.name}' in {self.folder}"

    def parts(self) -> list["PlannedStore"]:
        """What can be tokenised each by itself: the store as it is, if the source is small."""
        groups = file_groups(self.source)
        if len(groups) <= 1:
            return [self]
        return [
            PlannedStore(
                source=replace(self.source, paths=group),
                purpose=self.purpose,
                folder=parts_folder(self.folder) / f"{number:05d}",
                key=hashlib.sha256("\n".join([self.key, *group]).encode()).hexdigest()[:32],
                is_part=True,
            )
            for number, group in enumerate(groups)
        ]


@dataclass(frozen=True)
class Tokenising:
    """What a worker needs to write any planned store.

    Attributes:
        tokenizer: Name or folder.
        trust_remote_code: Whether code that comes with the tokenizer may run.
        sequence_length: Greatest number of tokens of a sample.
        prompt_format: What is made of prompts.
        on_bad_record: Whether bad records are left out.
    """

    tokenizer: str
    trust_remote_code: bool
    sequence_length: int
    prompt_format: PromptFormat
    on_bad_record: OnBadRecord

    needs_model = False

    def opened(self) -> Callable[[PlannedStore, Callable[[int], None]], None]:
        """Load the tokenizer; what is returned writes one store."""
        tokenizer = load_tokenizer(self.tokenizer, trust_remote_code=self.trust_remote_code)

        def write(planned: PlannedStore, progress: Callable[[int], None]) -> None:
            bad_records: list[BadRecord] = []
            records = read_records(
                planned.source,
                purpose=planned.purpose,
                on_bad_record=self.on_bad_record,
                bad_records=bad_records,
                may_be_empty=planned.is_part,
            )
            write_token_store(
                planned.folder,
                records,
                tokenizer,
                name=planned.source.name,
                key=planned.key,
                sequence_length=self.sequence_length,
                prompt_format=self.prompt_format,
                score_ends=planned.purpose == "train",
                bad_records=bad_records,
                progress=progress,
                may_be_empty=planned.is_part,
            )

        return write


def parts_folder(folder: Path) -> Path:
    """Where the parts of a store lie until they are joined."""
    return folder.with_name(f"{folder.name}.parts")


def join_parts(whole: PlannedStore, parts: Sequence[PlannedStore]) -> TokenStore:
    """Make one store of the stores of all parts of a source.

    Args:
        whole: The store to write.
        parts: Its parts, in order, each written.

    Returns:
        The store, to the byte what one pass over the source would have written.

    Raises:
        InputError: If a part is missing or damaged, no record or sample came of all of them, or
            the disk is full.
    """
    stores = [_checked(part) for part in parts]
    counts = ("num_records", "num_samples", "num_truncated", "num_scored_tokens")
    facts: dict[str, Any] = {name: sum(getattr(s, name) for s in stores) for name in counts}
    bad_records = [bad for store in stores for bad in store.bad_records]
    if facts["num_records"] == 0:
        refuse_no_record(whole.source, bad_records[0] if bad_records else None)
    refuse_no_sample(whole.source.called, facts)
    file_numbers: dict[str, int] = {}
    for file in (file for store in stores for file in store.files):
        file_numbers.setdefault(file, len(file_numbers))
    with whole_store(whole.folder, whole.source.name) as unfinished:
        facts["files"] = list(file_numbers)
        facts["checksums"] = {
            name: _write_joined(unfinished / f"{name}.npy", _pieces(name, stores, file_numbers))
            for name in ARRAY_TYPES
        }
        write_meta(unfinished, whole.source.name, whole.key, facts, bad_records)
    return TokenStore(whole.folder)


def _checked(part: PlannedStore) -> TokenStore:
    store = open_token_store(part.folder, part.key)
    if store is None:
        raise InputError(
            f"{part.folder}: these tokens were written and are missing or damaged now; run the "
            "same command again to rebuild them."
        )
    return store


def _pieces(
    name: str, stores: Sequence[TokenStore], file_numbers: dict[str, int]
) -> Iterator[np.ndarray]:
    """An array of the whole, piece by piece: offsets and file numbers go on through the parts."""
    num_tokens = 0
    if name == "offsets":
        yield np.zeros(1, np.int64)
    for store in stores:
        array_n = mapped_array(store.folder / f"{name}.npy")
        renumbered = np.array([file_numbers[file] for file in store.files], np.int32)
        start = 1 if name == "offsets" else 0
        for first in range(start, len(array_n), _ENTRIES_PER_COPY):
            piece = array_n[first : first + _ENTRIES_PER_COPY]
            if name == "offsets":
                yield piece + num_tokens
            else:
                yield renumbered[piece] if name == "files" else piece
        num_tokens += store.num_tokens


def _write_joined(path: Path, pieces: Iterator[np.ndarray]) -> str:
    first = next(pieces)
    writer = ArrayWriter(path, first.dtype)
    try:
        writer.append(first)
        for piece in pieces:
            writer.append(piece)
        return writer.finish()
    finally:
        writer.abandon()


def file_groups(source: SourceFiles) -> list[tuple[str, ...]]:
    """Paths in the order in which they are read, consecutive ones in groups of like size."""
    groups: list[tuple[str, ...]] = []
    current: list[str] = []
    num_bytes = 0
    for path, size in _sized_paths(source):
        if current and num_bytes + size > PART_BYTES:
            groups.append(tuple(current))
            current, num_bytes = [], 0
        current.append(path)
        num_bytes += size
    return [*groups, tuple(current)] if current else groups


def _sized_paths(source: SourceFiles) -> Iterator[tuple[str, int]]:
    seen: set[Path] = set()  # as readers.raw_records: no file is read twice
    for path in source.paths:
        if hub.is_hub_path(path) or python_corpus.is_python_path(path):
            yield path, PART_BYTES  # of unknown size
        else:
            for file in files_of_path(path, source.called):
                if file not in seen:
                    seen.add(file)
                    yield str(file), file.stat().st_size
