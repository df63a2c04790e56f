"""The arrays of a token store, written as the records come: tokenised in batches, memory flat.

Axes: n samples; the tokens of all samples lie one after the other, sample i from ``offsets[i]`` to
``offsets[i + 1]``.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from dids.data.array_file import ArrayWriter
from dids.data.records import Record
from dids.data.rendering import EncodedRecord, PromptFormat, encode_records
from dids.data.sequence_length import fit_to_length

RECORDS_PER_BATCH = 512
CHARACTERS_PER_BATCH = 4_000_000
"""Bounds the memory of a batch of long texts."""

ARRAY_TYPES = {
    "tokens": "<u4",
    "scored": "?",
    "offsets": "<i8",
    "scored_counts": "<i4",
    "lines": "<i8",
    "files": "<i4",
}
"""One file each. Tokens are 16 bits wide where the vocabulary allows it."""


def write_samples(
    folder: Path,
    records: Iterator[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    sequence_length: int,
    prompt_format: PromptFormat,
    score_ends: bool,
    progress: Callable[[int], None] | None,
) -> dict[str, Any]:
    """Write the arrays of a store.

    Args:
        folder: An empty folder.
        records: The records, read once.
        tokenizer: Any tokenizer of ``transformers``.
        sequence_length: Greatest number of tokens of a sample.
        prompt_format: What is made of prompts.
        score_ends: Whether the end markers after answers count in the loss.
        progress: Called with the number of records done since the last call.

    Returns:
        What there is to know about them: counts, the names of the files, and checksums.
    """
    types = dict(ARRAY_TYPES)
    if max(tokenizer.get_vocab().values()) < 1 << 16:
        types["tokens"] = "<u2"
    writers = {name: ArrayWriter(folder / f"{name}.npy", dtype) for name, dtype in types.items()}
    file_numbers: dict[str, int] = {}
    counts = {"num_records": 0, "num_samples": 0, "num_truncated": 0, "num_scored_tokens": 0}
    try:
        writers["offsets"].append([0])
        for batch in _batches(records):
            encoded = encode_records(
                batch, tokenizer, prompt_format=prompt_format, score_ends=score_ends
            )
            columns: dict[str, list[int]] = {name: [] for name in types}
            offset = writers["tokens"].size
            for record, whole in zip(batch, encoded, strict=True):
                pieces = fit_to_length(whole, sequence_length)
                counts["num_truncated"] += not whole.is_text and _is_shorter(pieces, whole)
                file_number = file_numbers.setdefault(record.origin.file, len(file_numbers))
                for piece in pieces:
                    offset += len(piece.token_ids)
                    columns["tokens"] += piece.token_ids
                    columns["scored"] += piece.is_scored
                    columns["offsets"].append(offset)
                    columns["scored_counts"].append(sum(piece.is_scored))
                    columns["lines"].append(record.origin.line)
                    columns["files"].append(file_number)
            for name, values in columns.items():
                writers[name].append(values)
            counts["num_records"] += len(batch)
            counts["num_samples"] += len(columns["lines"])
            counts["num_scored_tokens"] += sum(columns["scored_counts"])
            if progress is not None:
                progress(len(batch))
        checksums = {name: writer.finish() for name, writer in writers.items()}
    finally:
        for writer in writers.values():
            writer.abandon()
    return {**counts, "files": list(file_numbers), "checksums": checksums}


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    batch, num_characters = [], 0
    for record in records:
        batch.append(record)
        num_characters += sum(map(len, record.texts))
        if len(batch) == RECORDS_PER_BATCH or num_characters >= CHARACTERS_PER_BATCH:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch


def _is_shorter(pieces: list[EncodedRecord], whole: EncodedRecord) -> bool:
    return sum(len(piece.token_ids) for piece in pieces) < len(whole.token_ids)
