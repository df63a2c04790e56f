"""One source, read once in batches: what is found record by record, kept on disk.

A check that is stopped goes on with the first source that has no whole scan.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from dids.atomic import read_json, whole_folder, write_json
from dids.check.leaks import Hit, LeakGuard, keep_best
from dids.check.sketches import Sketches, SketchWriter, is_whole
from dids.check.token_estimate import SourceSize, TokenEstimate
from dids.check.words import WordBatch
from dids.data.readers import read_records
from dids.data.records import BadRecord, Origin, Record
from dids.data.rendering import PromptFormat
from dids.data.sources import SourceFiles

NUM_EXAMPLES = 3
META = "meta.json"
LEAKS = "leaks.jsonl"
"""Place and item of every record that holds one."""
_RECORDS_A_BATCH = 1024
_CHARACTERS_A_BATCH = 4_000_000


@dataclass(frozen=True)
class Counted:
    """How often something was found, and where first."""

    count: int
    examples: list[Any]


class Few(list[Any]):
    """A list that keeps the first few of what is appended, and counts all."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def append(self, value: Any) -> None:  # noqa: ANN401
        """Count, and keep if there is room."""
        self.total += 1
        if len(self) < NUM_EXAMPLES:
            super().append(value)

    @property
    def counted(self) -> Counted:
        """How many there were, and the first of them."""
        return Counted(self.total, list(self))


@dataclass(frozen=True)
class ScanSettings:
    """What decides what a scan finds, apart from the records."""

    tokenizer: PreTrainedTokenizerBase
    sequence_length: int
    prompt_format: PromptFormat
    containment: float
    near_duplicates: bool
    seed: int


@dataclass(frozen=True)
class SourceScan:
    """What was found in one source."""

    name: str
    records: int
    characters: int
    words: int
    size: SourceSize
    bad: Counted
    """Examples are `BadRecord`."""
    wordless: Counted
    """Examples are `Origin`."""
    hits: list[Hit]
    """Of every item that stands in it, or part of it, the best."""
    sketches: Sketches

    def leaking(self) -> Iterator[tuple[Origin, int]]:
        """Every record that holds an item, with the item's number."""
        with (self.sketches.folder / LEAKS).open(encoding="utf-8") as file:
            for line in file:
                leak = json.loads(line)
                yield Origin(leak["file"], leak["line"]), leak["item"]


def scanned_source(
    source: SourceFiles,
    folder: Path,
    key: str,
    guard: LeakGuard,
    settings: ScanSettings,
    progress: Callable[[float], None],
) -> SourceScan:
    """Read a source, or what an earlier scan with the same key has left of it.

    Args:
        source: The source. Records that cannot be used are counted and passed over.
        folder: Where the scan is kept.
        key: Hash of everything that decides what is found.
        guard: Knows the tasks' items.
        settings: What else is needed.
        progress: Called with the number of records done since the last call.

    Returns:
        What was found.

    Raises:
        InputError: If a file is missing, unreadable or cut off, or there is no usable record.
    """
    found = _opened(folder, key)
    if found is None:
        with whole_folder(folder) as unfinished:
            meta = _scan(source, unfinished, guard, settings, progress)
            write_json(unfinished / META, {"key": key, **meta})
        found = _opened(folder, key)
        assert found is not None
    return found


def _scan(
    source: SourceFiles,
    folder: Path,
    guard: LeakGuard,
    settings: ScanSettings,
    progress: Callable[[float], None],
) -> dict[str, Any]:
    bad, wordless = Few(), Few()
    hits: dict[int, Hit] = {}
    estimate = TokenEstimate(settings.seed)
    num_words = 0
    writer = SketchWriter(folder)
    with (folder / LEAKS).open("w", encoding="utf-8") as leaks, closing(writer):
        records = read_records(source, on_bad_record="skip", bad_records=bad)
        for texts, origins in _batches(records, estimate):
            batch = WordBatch.of(texts)
            num_words += len(batch.words)
            for empty in (batch.counts == 0).nonzero()[0].tolist():
                wordless.append(vars(origins[empty]))
            for hit in guard.hits(origins, batch):
                keep_best(hits, hit.item, hit)
                if hit.is_leak(settings.containment):
                    leaks.write(json.dumps({**vars(hit.record), "item": hit.item}) + "\n")
            writer.append(origins, batch, with_signatures=settings.near_duplicates)
            progress(len(texts))
        sketches = writer.finish()
    size = estimate.size(
        settings.tokenizer,
        sequence_length=settings.sequence_length,
        prompt_format=settings.prompt_format,
    )
    return {
        "name": source.name,
        "records": estimate.num_records,
        "characters": estimate.num_characters,
        "words": num_words,
        "size": {**vars(size), "truncated": [vars(place) for place in size.truncated]},
        "bad": [bad.total, [vars(record) for record in bad]],
        "wordless": [wordless.total, list(wordless)],
        "hits": [{**vars(hit), "record": vars(hit.record)} for hit in hits.values()],
        "sketches": sketches,
    }


def _batches(
    records: Iterator[Record], estimate: TokenEstimate
) -> Iterator[tuple[list[str], list[Origin]]]:
    texts: list[str] = []
    origins: list[Origin] = []
    num_characters = 0
    for record in records:
        estimate.look(record)
        text = " ".join(record.texts)
        texts.append(text)
        origins.append(record.origin)
        num_characters += len(text)
        if len(texts) == _RECORDS_A_BATCH or num_characters >= _CHARACTERS_A_BATCH:
            yield texts, origins
            texts, origins, num_characters = [], [], 0
    if texts:
        yield texts, origins


def _opened(folder: Path, key: str) -> SourceScan | None:
    """A finished scan of this key whose arrays are whole; None if there is none."""
    try:
        meta = read_json(folder / META)
        sketches = meta["sketches"]
        if meta["key"] != key or not is_whole(folder, sketches["checksums"]):
            return None
        size = meta["size"]
        files = [(file, first) for file, first in sketches["files"]]
        return SourceScan(
            name=meta["name"],
            records=meta["records"],
            characters=meta["characters"],
            words=meta["words"],
            size=SourceSize(**{**size, "truncated": tuple(map(_origin, size["truncated"]))}),
            bad=Counted(meta["bad"][0], [BadRecord(**record) for record in meta["bad"][1]]),
            wordless=Counted(meta["wordless"][0], list(map(_origin, meta["wordless"][1]))),
            hits=[Hit(**{**hit, "record": _origin(hit["record"])}) for hit in meta["hits"]],
            sketches=Sketches(folder, meta["name"], meta["records"], files),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _origin(place: dict[str, Any]) -> Origin:
    return Origin(**place)
