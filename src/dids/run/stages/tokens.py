"""Stage two: sources and tasks as memory-mapped token ids, keyed by what made them."""

import fcntl
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dids.data.records import Purpose
from dids.data.sources import SourceFiles, content_hash
from dids.data.token_parts import PlannedStore, Tokenising, join_parts, parts_folder
from dids.data.token_store import open_token_store, token_store_key
from dids.data.tokenizer import tokenizer_hash
from dids.errors import InputError
from dids.run.stages.check import check_added
from dids.run.workspace import Workspace

logger = logging.getLogger(__name__)

_LOCK = ".lock"


def run(work: Workspace) -> dict[str, Any]:
    """Tokenise what is not tokenised yet, and record where everything lies."""
    content = work.folder.facts("check")["content"]
    planned = {
        kind: {
            name: _planned(work, source, _purpose(kind), content[source.name])
            for name, source in named.items()
        }
        for kind, named in _files(work).items()
    }
    _tokenise(work, [store for named in planned.values() for store in named.values()])
    if not any(_has_scored_tokens(store) for store in planned["validation"].values()):
        raise InputError(
            "tasks: no task has a completion, so there is no loss to be guided by; give one a "
            "completion or answer."
        )
    return {
        kind: {name: _place(store) for name, store in named.items()}
        for kind, named in planned.items()
    }


def _has_scored_tokens(planned: PlannedStore) -> bool:
    store = open_token_store(planned.folder, planned.key)
    assert store is not None, "it was written just now"
    return store.num_scored_tokens > 0


def rebuild_damaged(work: Workspace) -> None:
    """Make again, where it was, what the finished stage has left and is missing or damaged now."""
    facts = work.folder.facts("tokens")
    places = {**facts, "sources": {**facts["sources"], **work.added_sources}}
    stores = [
        PlannedStore(
            source,
            _purpose(kind),
            Path(places[kind][name]["folder"]),
            places[kind][name]["key"],
        )
        for kind, named in _files(work).items()
        for name, source in named.items()
    ]
    for store in stores:
        if not store.folder.exists():
            logger.warning("%s is missing: its token store is made again.", store.folder)
    _tokenise(work, stores)


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
    planned = _planned(work, source, "train", content)
    _tokenise(work, [planned])
    return {"path": [path], "content": content, **_place(planned)}


def _files(work: Workspace) -> dict[str, dict[str, SourceFiles]]:
    """What is tokenised, by kind and name."""
    return {
        "sources": work.sources,
        "validation": work.task_files("validation"),
        "test": work.task_files("test"),
    }


def _purpose(kind: str) -> Purpose:
    return "train" if kind == "sources" else "task"


def _planned(work: Workspace, source: SourceFiles, purpose: Purpose, content: str) -> PlannedStore:
    data = work.config.data
    key = token_store_key(
        content,
        tokenizer_hash(work.tokenizer),
        data.sequence_length,
        data.prompt_format,
        purpose,
        data.on_bad_record,
    )
    cache = Path(data.cache) if data.cache is not None else work.path("tokens")
    return PlannedStore(source, purpose, cache / f"{source.name}-{key[:16]}", key)


def _tokenise(work: Workspace, planned: Sequence[PlannedStore]) -> None:
    """Write what is missing or damaged, one run at a time where several share a folder."""
    missing = _missing(planned)
    if not missing or work.config.data.cache is None:
        _write(work, missing)
        return
    with _alone(work, Path(work.config.data.cache)) as has_waited:
        _write(work, _missing(missing) if has_waited else missing)


def _missing(planned: Sequence[PlannedStore]) -> list[PlannedStore]:
    return [store for store in planned if open_token_store(store.folder, store.key) is None]


@contextmanager
def _alone(work: Workspace, cache: Path) -> Iterator[bool]:
    """Hold the folder of shared tokens; yields whether another run had it first.

    Where the file system knows no locks, as some that are shared by machines, no one waits.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / _LOCK).open("a") as file:
        has_waited = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            has_waited = True
            work.progress.say(f"waiting for another run, which tokenises into {cache}")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            logger.debug("%s cannot be locked", file.name, exc_info=True)
        yield has_waited


def _write(work: Workspace, missing: Sequence[PlannedStore]) -> None:
    """The parts of all stores together, then each joined."""
    parts = [store.parts() for store in missing]
    todo = [
        part
        for of_store in parts
        for part in of_store
        if not part.is_part or open_token_store(part.folder, part.key) is None
    ]
    data = work.config.data
    tokenising = Tokenising(
        str(work.path("tokenizer")),
        work.config.trust_remote_code,
        data.sequence_length,
        data.prompt_format,
        data.on_bad_record,
    )
    if todo:
        with work.progress.bar("tokenising", 0) as advance:
            for _ in work.engine(tokenising, todo, advance):
                pass
    for store, of_store in zip(missing, parts, strict=True):
        if len(of_store) > 1:
            join_parts(store, of_store)
            shutil.rmtree(parts_folder(store.folder))


def _place(store: PlannedStore) -> dict[str, str]:
    return {"folder": str(store.folder), "key": store.key}
