"""Stage two: sources and tasks as memory-mapped token ids, keyed by what made them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from dids.data.leaks import LeakGuard
from dids.data.readers import read_records
from dids.data.records import BadRecord, Record
from dids.data.sources import SourceFiles, content_hash
from dids.data.token_store import open_token_store, token_store_key, write_token_store
from dids.data.tokenizer import tokenizer_hash
from dids.errors import InputError
from dids.run.workspace import Workspace


def run(work: Workspace) -> dict[str, Any]:
    """Tokenise what is not tokenised yet, and record where everything lies and what leaks."""
    facts: dict[str, Any] = {"sources": {}, "validation": {}, "test": {}, "leaks": {}}
    hashes: dict[str, str] = {}
    guard = _guard(work)
    for name, source in work.sources.items():
        facts["sources"][name] = _tokenised(work, source, "train", hashes, guard)
    for (task, split), by_source in guard.counts().items():
        facts["leaks"].setdefault(split, {})[task] = by_source
    for name, source in work.task_files("validation").items():
        facts["validation"][name] = _tokenised(work, source, "task", hashes)
    for name, source in work.task_files("test").items():
        facts["test"][name] = _tokenised(work, source, "task", hashes)
    return {"content": hashes, **facts}


def check_unchanged(work: Workspace) -> None:
    """Refuse to go on with other data than the run began with."""
    recorded = work.folder.facts("tokens")["content"]
    files = [*work.sources.values()]
    files += [*work.task_files("validation").values(), *work.task_files("test").values()]
    for source in files:
        if content_hash(source) != recorded[source.name]:
            raise InputError(
                f"{source.paths[0]}: '{source.name}' has changed since this run began; give the "
                "run another "
                "folder, or bring the old file back."
            )


def _guard(work: Workspace) -> LeakGuard:
    guard = LeakGuard()
    splits: tuple[Literal["validation", "test"], ...] = ("validation", "test")
    for split in splits:
        for task, source in work.task_files(split).items():
            items = read_records(
                source, purpose="task", on_bad_record=work.config.data.on_bad_record
            )
            guard.add((task, split), items)
    return guard


def _tokenised(
    work: Workspace,
    source: SourceFiles,
    purpose: Literal["train", "task"],
    hashes: dict[str, str],
    guard: LeakGuard | None = None,
) -> dict[str, str]:
    data = work.config.data
    hashes[source.name] = content_hash(source)
    key = token_store_key(
        hashes[source.name],
        tokenizer_hash(work.tokenizer),
        data.sequence_length,
        data.prompt_format,
        purpose,
        data.on_bad_record,
    )
    cache = Path(data.cache) if data.cache is not None else work.path("tokens")
    folder = cache / f"{source.name}-{key[:16]}"
    bad_records: list[BadRecord] = []
    records: Iterator[Record] = read_records(
        source, purpose=purpose, on_bad_record=data.on_bad_record, bad_records=bad_records
    )
    if guard is not None:
        records = guard.watched(source.name, records)
    if open_token_store(folder, key) is None:
        with work.progress.bar(f"tokenising {source.name}", 0) as advance:
            write_token_store(
                folder,
                records,
                work.tokenizer,
                name=source.name,
                key=key,
                sequence_length=data.sequence_length,
                prompt_format=data.prompt_format,
                score_ends=purpose == "train",
                bad_records=bad_records,
                progress=advance,
            )
    elif guard is not None:  # tokenised by an earlier run: look at the records all the same
        with work.progress.bar(f"looking for leaks in {source.name}", 0) as advance:
            for _ in records:
                advance(1)
    return {"folder": str(folder), "key": key}
