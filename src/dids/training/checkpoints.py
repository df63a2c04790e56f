"""Checkpoints: ordinary Hugging Face ones plus ``dids_state.json``, which is written last.

A checkpoint without that file was interrupted and does not count; a stopped run goes on from the
newest one that has it.
"""

import shutil
from pathlib import Path
from typing import Any

from dids.atomic import read_json, write_json

STATE_NAME = "dids_state.json"
CHECKPOINT_PREFIX = "checkpoint-"


def write_state(checkpoint: Path, state: dict[str, Any]) -> None:
    """Complete a checkpoint; after this it counts."""
    write_json(checkpoint / STATE_NAME, state)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The state that ``write_state`` left."""
    state: dict[str, Any] = read_json(checkpoint / STATE_NAME)
    return state


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint of the highest step; interrupted ones are removed."""
    for checkpoint in folder.glob(f"{CHECKPOINT_PREFIX}*"):
        if not (checkpoint / STATE_NAME).exists():
            shutil.rmtree(checkpoint)
    return newest_complete(folder)


def newest_complete(folder: Path) -> Path | None:
    """The complete checkpoint of the highest step; nothing is touched."""
    complete = [
        (int(number), checkpoint)
        for checkpoint in folder.glob(f"{CHECKPOINT_PREFIX}*")
        if (number := checkpoint.name.removeprefix(CHECKPOINT_PREFIX)).isdigit()
        and (checkpoint / STATE_NAME).exists()
    ]
    return max(complete)[1] if complete else None


def remove_checkpoints(folder: Path) -> None:
    """Remove what a finished training would go on from."""
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
