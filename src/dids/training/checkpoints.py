"""Checkpoints: ordinary Hugging Face ones plus ``dids_state.json``, which is written last.

A checkpoint without that file was interrupted and does not count. One whose files are not those
that ``dids_checksums.json`` tells of was damaged since, and does not count either: a stopped run
goes on from the newest one that is whole.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from dids.atomic import read_json, whole_file, write_json
from dids.checksum import file_checksum, is_damaged, seal
from dids.errors import InputError

logger = logging.getLogger(__name__)

STATE_NAME = "dids_state.json"
CHECKSUMS_NAME = "dids_checksums.json"
CHECKPOINT_PREFIX = "checkpoint-"
_FORMAT = 1  # of the state; one more whenever what is kept in it changes its meaning or its names


def write_state(checkpoint: Path, state: dict[str, Any]) -> None:
    """Complete a checkpoint with its state and every file's checksum; after this it counts."""
    with whole_file(checkpoint / STATE_NAME) as unfinished:
        text = json.dumps({"format": _FORMAT, **state}, ensure_ascii=False, indent=1)
        unfinished.write_text(text, encoding="utf-8")
        files = {
            path.relative_to(checkpoint).as_posix(): path
            for path in sorted(checkpoint.rglob("*"))
            if path.is_file() and path != unfinished
        }
        files.pop(CHECKSUMS_NAME, None)  # of a checkpoint that was there before
        checksums = {name: file_checksum(path) for name, path in files.items()}
        checksums[STATE_NAME] = file_checksum(unfinished)
        write_json(checkpoint / CHECKSUMS_NAME, {"files": checksums, "seal": seal(checksums)})


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The state that ``write_state`` left.

    Raises:
        InputError: If a version of this package wrote it that keeps its state otherwise.
    """
    state: dict[str, Any] = read_json(checkpoint / STATE_NAME)
    if state.pop("format", None) != _FORMAT:
        raise InputError(
            f"{checkpoint}: another version of dids wrote it, which this one cannot go on from; "
            "end the run with the version that began it, or move this folder's checkpoints away "
            "and train from the beginning."
        )
    return state


def damaged_file(checkpoint: Path) -> str | None:
    """A file of a complete checkpoint that is missing or not as it was written; None: none is."""
    try:
        kept = read_json(checkpoint / CHECKSUMS_NAME)
        checksums: dict[str, str] = kept["files"]
        if kept["seal"] != seal(checksums):
            return CHECKSUMS_NAME
    except (OSError, ValueError, KeyError, TypeError):
        return CHECKSUMS_NAME
    for name, checksum in checksums.items():
        if is_damaged(checkpoint / name, checksum):
            return name
    return None


def refuse_damaged(checkpoint: Path) -> None:
    """Say so if a checkpoint cannot be gone on from.

    Raises:
        InputError: If it was not written to its end, or a file of it is missing or damaged.
    """
    if not (checkpoint / STATE_NAME).exists():
        raise InputError(
            f"{checkpoint}: it has no {STATE_NAME}, so its mixture is not known: it was saved "
            "without this callback, or cut off while it was written; resume from one before it."
        )
    damaged = damaged_file(checkpoint)
    if damaged is not None:
        raise InputError(
            f"{checkpoint / damaged}: the file is missing, or differs from its checksum in "
            f"{CHECKSUMS_NAME}; resume from a checkpoint before this one."
        )


def newest_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint of the highest step; interrupted and damaged ones are removed."""
    for checkpoint in folder.glob(f"{CHECKPOINT_PREFIX}*"):
        if not (checkpoint / STATE_NAME).exists():
            shutil.rmtree(checkpoint)
    newest = newest_complete(folder)
    for checkpoint in complete_checkpoints(folder):
        if newest is None or _step(checkpoint) > _step(newest):
            shutil.rmtree(checkpoint)
    return newest


def newest_complete(folder: Path) -> Path | None:
    """The whole checkpoint of the highest step; a damaged one is named, and nothing is touched."""
    for checkpoint in reversed(complete_checkpoints(folder)):
        damaged = damaged_file(checkpoint)
        if damaged is None:
            return checkpoint
        logger.warning(
            "%s is missing or damaged: its checkpoint is not used, and training goes on from the "
            "one before it, or from the beginning.",
            checkpoint / damaged,
        )
    return None


def remove_checkpoints(folder: Path) -> None:
    """Remove what a finished training would go on from."""
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def keep_newest(folder: Path, number: int | None, *, but: Path | None = None) -> None:
    """Remove complete checkpoints beyond so many of the highest steps.

    Args:
        folder: Where they are.
        number: How many stay; None or 0: all.
        but: One more that stays, the best.
    """
    for checkpoint in complete_checkpoints(folder)[: -number if number else 0]:
        if but is None or checkpoint.name != but.name:
            shutil.rmtree(checkpoint)


def complete_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that were written to their end, by step; whether they are damaged is not seen."""
    complete = (
        checkpoint
        for checkpoint in folder.glob(f"{CHECKPOINT_PREFIX}*")
        if checkpoint.name.removeprefix(CHECKPOINT_PREFIX).isdigit()
        and (checkpoint / STATE_NAME).exists()
    )
    return sorted(complete, key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(CHECKPOINT_PREFIX))
