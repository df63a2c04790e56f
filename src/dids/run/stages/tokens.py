"""Stage two: sources and tasks as memory-mapped token ids, keyed by what made them."""

from pathlib import Path
from typing import Any, Literal

from dids.data.readers import read_records
from dids.data.records import BadRecord
from dids.data.sources import SourceFiles, content_hash
from dids.data.token_store import open_token_store, token_store_key, write_token_store
from dids.data.tokenizer import tokenizer_hash
from dids.errors import InputError
from dids.run.workspace import Workspace


def run(work: Workspace) -> dict[str, Any]:
    """Tokenise what is not tokenised yet, and record where everything lies."""
    facts: dict[str, Any] = {"sources": {}, "validation": {}, "test": {}}
    hashes: dict[str, str] = {}
    for name, source in work.sources.items():
        facts["sources"][name] = _tokenised(work, source, "train", hashes)
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


def _tokenised(
    work: Workspace,
    source: SourceFiles,
    purpose: Literal["train", "task"],
    hashes: dict[str, str],
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
    if open_token_store(folder, key) is None:
        bad_records: list[BadRecord] = []
        records = read_records(
            source, purpose=purpose, on_bad_record=data.on_bad_record, bad_records=bad_records
        )
        with work.progress.bar(f"tokenising {source.name}", 0) as advance:
            write_token_store(
                folder,
                records,
                work.tokenizer,
                name=source.name,
                key=key,
                sequence_length=data.sequence_length,
                prompt_format=data.prompt_format,
                bad_records=bad_records,
                progress=advance,
            )
    return {"folder": str(folder), "key": key}
