"""Samples of one source on disk: token ids and what of them is scored, memory-mapped.

A folder of plain arrays and a ``meta.json``. Axes: n samples; the tokens of all samples lie one
after the other, sample i from ``offsets[i]`` to ``offsets[i + 1]``. A store belongs to a key: a
hash of the content, the tokenizer and the settings it was made with.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32, Int64
from transformers import PreTrainedTokenizerBase

from dids.data.array_file import array_checksum, mapped_array
from dids.data.records import BadRecord, OnBadRecord, Origin, Purpose, Record
from dids.data.rendering import PromptFormat, token_prefix
from dids.data.token_samples import ARRAY_TYPES, write_samples
from dids.errors import InputError, is_disk_full

logger = logging.getLogger(__name__)

META = "meta.json"
STORE_VERSION = 2
"""Goes into the key: raise it when records are rendered or cut in another way."""


def token_store_key(
    content_hash: str,
    tokenizer_hash: str,
    sequence_length: int,
    prompt_format: PromptFormat,
    purpose: Purpose,
    on_bad_record: OnBadRecord,
) -> str:
    """A hash of everything that decides what is in a store.

    Args:
        content_hash: Of the source's files.
        tokenizer_hash: Of the tokenizer.
        sequence_length: Tokens a sample may have.
        prompt_format: What is made of prompts.
        purpose: What the records are for.
        on_bad_record: Whether bad records were left out.

    Returns:
        32 hexadecimal digits.
    """
    parts = (
        STORE_VERSION, content_hash, tokenizer_hash, sequence_length,
        prompt_format, purpose, on_bad_record,
    )  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class TokenStore:
    """The samples of one source, read from disk as they are asked for."""

    def __init__(self, folder: Path) -> None:
        """Map the arrays of a finished store, unchecked; `open_token_store` checks.

        Args:
            folder: The store's folder.
        """
        self.folder = folder
        meta = json.loads((folder / META).read_text("utf-8"))
        self.key: str = meta["key"]
        self.name: str = meta["name"]
        self.num_records: int = meta["num_records"]
        self.num_truncated: int = meta["num_truncated"]
        self.num_scored_tokens: int = meta["num_scored_tokens"]
        self.bad_records = [BadRecord(**bad) for bad in meta["bad_records"]]
        self.files: list[str] = meta["files"]
        arrays = {name: mapped_array(folder / f"{name}.npy") for name in ARRAY_TYPES}
        self._tokens, self._scored, self._offsets = (
            arrays[name] for name in ("tokens", "scored", "offsets")
        )
        self.lines: Int64[np.ndarray, " n"] = arrays["lines"]
        self.file_numbers: Int32[np.ndarray, " n"] = arrays["files"]
        self.scored_counts: Int32[np.ndarray, " n"] = arrays["scored_counts"]

    def __reduce__(self) -> tuple[Any, ...]:
        # A loader's worker maps the files again; the arrays themselves would be copied to it.
        return (TokenStore, (self.folder,))

    def __len__(self) -> int:
        return self.num_samples

    @property
    def num_samples(self) -> int:
        """How many samples there are."""
        return len(self.lines)

    @property
    def num_tokens(self) -> int:
        """Tokens of all samples together."""
        return len(self._tokens)

    @property
    def lengths(self) -> Int32[np.ndarray, " n"]:
        """Tokens of each sample."""
        return np.diff(self._offsets).astype(np.int32)

    def sample(self, index: int) -> tuple[Int64[np.ndarray, " t"], Bool[np.ndarray, " t"]]:
        """Token ids of a sample and which of them are scored.

        Args:
            index: From 0.

        Returns:
            Copies, to be changed at will.

        Raises:
            IndexError: If there is no such sample.
        """
        start, stop = self._span(index)
        return self._tokens[start:stop].astype(np.int64), np.array(self._scored[start:stop])

    def origin(self, index: int) -> Origin:
        """Where a sample's record was read.

        Raises:
            IndexError: If there is no such sample.
        """
        self._span(index)
        return Origin(self.files[int(self.file_numbers[index])], int(self.lines[index]))

    def _span(self, index: int) -> tuple[int, int]:
        if not 0 <= index < self.num_samples:
            raise IndexError(f"sample {index} is not one of 0 to {self.num_samples - 1}")
        return int(self._offsets[index]), int(self._offsets[index + 1])


def open_token_store(folder: Path, key: str) -> TokenStore | None:
    """The store in a folder, if it is whole and belongs to the key.

    Args:
        folder: Where the store was written.
        key: What `token_store_key` gives for the present content and settings.

    Returns:
        The store; None if there is none, it has another key, or it is damaged (its checksums are
        compared, which reads it once).
    """
    try:
        meta = json.loads((folder / META).read_text("utf-8"))
        if meta["key"] != key:
            return None
        for name in ARRAY_TYPES:
            if array_checksum(folder / f"{name}.npy") != meta["checksums"][name]:
                raise ValueError(f"{name}.npy differs from its checksum")
        return TokenStore(folder)
    except FileNotFoundError as error:
        if folder.exists():
            logger.warning("%s is missing: its token store is made again.", error.filename)
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("The token store %s is damaged (%s) and is made again.", folder, error)
        return None


def write_token_store(
    folder: Path,
    records: Iterator[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str,
    key: str,
    sequence_length: int,
    prompt_format: PromptFormat = "chat",
    score_ends: bool = True,
    bad_records: list[BadRecord] | None = None,
    progress: Callable[[int], None] | None = None,
    may_be_empty: bool = False,
) -> TokenStore:
    """Tokenise records and keep them on disk.

    Args:
        folder: Where the store shall be; what is there is replaced.
        records: The records, read once.
        tokenizer: Any tokenizer of ``transformers``.
        name: The source's name.
        key: What `token_store_key` gives.
        sequence_length: Greatest number of tokens of a sample.
        prompt_format: What is made of prompts.
        score_ends: Whether the end markers after answers count in the loss.
        bad_records: The list that the reader fills; it is kept with the store.
        progress: Called with the number of records done since the last call.
        may_be_empty: Whether there may be no sample: the records are a part of a source.

    Returns:
        The finished store.

    Raises:
        InputError: If no sample comes of the records, a record cannot be rendered, the sequence
            length leaves no room, or the disk is full.
    """
    needed = len(token_prefix(tokenizer)) + 2
    if sequence_length < needed:
        raise InputError(
            f"Field 'data.sequence_length' must be at least {needed} with this tokenizer, "
            f"but it is {sequence_length}."
        )
    with whole_store(folder, name) as unfinished:
        meta = write_samples(
            unfinished,
            records,
            tokenizer,
            sequence_length=sequence_length,
            prompt_format=prompt_format,
            score_ends=score_ends,
            progress=progress,
        )
        if not may_be_empty:
            refuse_no_sample(f"Source '{name}'", meta)
        write_meta(unfinished, name, key, meta, bad_records or [])
    return TokenStore(folder)


def write_meta(
    folder: Path, name: str, key: str, facts: Mapping[str, Any], bad_records: Sequence[BadRecord]
) -> None:
    """Complete a store whose arrays are written.

    Args:
        folder: The store's folder.
        name: The source's name.
        key: What `token_store_key` gives.
        facts: What `write_samples` found out about them.
        bad_records: What was left out.
    """
    meta = {"name": name, "key": key, **facts, "bad_records": [asdict(bad) for bad in bad_records]}
    (folder / META).write_text(json.dumps(meta, indent=1), "utf-8")


def refuse_no_sample(called: str, meta: Mapping[str, Any]) -> None:
    """Say so if no sample came of a source's records.

    Args:
        called: What an error begins with.
        meta: What `write_samples` found out.

    Raises:
        InputError: If there is no sample.
    """
    if meta["num_samples"] == 0:
        raise InputError(
            f"{called} gives no sample: none of its {meta['num_records']} records has "
            "two tokens or more."
        )


@contextmanager
def whole_store(folder: Path, name: str) -> Iterator[Path]:
    """A folder to write a store to, which takes its place when the block ends well.

    Args:
        folder: Where the store shall be; what is there is replaced.
        name: The source's name.

    Yields:
        An empty folder; what killed processes left of theirs is removed.

    Raises:
        InputError: If the disk is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f"{folder.name}.tmp-*"):
        shutil.rmtree(leftover)
    unfinished = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    unfinished.mkdir()
    try:
        yield unfinished
        _move_into_place(unfinished, folder)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if is_disk_full(error):
            raise InputError(
                f"The disk is full while the tokens of '{name}' are written to {folder}; "
                "free some space and start again."
            ) from error
        raise


def _move_into_place(unfinished: Path, folder: Path) -> None:
    old = folder.with_name(f"{unfinished.name}-old")
    if folder.exists():
        folder.replace(old)
    unfinished.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
