"""Stage two: sources and tasks as memory-mapped token ids, keyed by what made them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dids.data.readers import read_records
from dids.data.records import BadRecord, Purpose, Record
from dids.data.sources import SourceFiles, content_hash
from dids.data.token_store import open_token_store, token_store_key, write_token_store
from dids.data.tokenizer import tokenizer_hash
from dids.run.stages.check import check_added
from dids.run.workspace import Workspace


def run(work: Workspace) -> dict[str, Any]:
    """Tokenise what is not tokenised yet, and record where everything lies."""
    return {
        "sources": {
            name: _tokenised(work, source, "train") for name, source in work.sources.items()
        },
        "validation": {
            name: _tokenised(work, source, "task")
            for name, source in work.task_files("validation").items()
        },
        "test": {
            name: _tokenised(work, source, "task")
            for name, source in work.task_files("test").items()
        },
    }


def added_source(work: Workspace, name: str, path: str) -> dict[str, Any]:
    """Check and tokenise a source that joins a run under way.

    Args:
        work: The run.
        name: Of the source.
        path: As in the config.

    Returns:
        What `Domains.added_sources` keeps of it.
    """
    source = SourceFiles(name=name, paths=(path,), format=None)
    check_added(work, source)
    content = content_hash(source)
    return {"path": [path], "content": content, **_tokenised(work, source, "train", content)}


def _tokenised(
    work: Workspace, source: SourceFiles, purpose: Purpose, content: str | None = None
) -> dict[str, str]:
    data = work.config.data
    key = token_store_key(
        content or work.folder.facts("check")["content"][source.name],
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
    return {"folder": str(folder), "key": key}
