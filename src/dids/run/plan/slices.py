"""A small config like a given one: some records of every source and task, in files of their own."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dids.config import Config
from dids.data.records import Record
from dids.run.plan.volumes import Volume

CHARACTERS = 3_000_000
"""Of all sources together: a few seconds of checking and tokenising."""
TEST_ITEMS = 48
"""Of each task."""


@dataclass(frozen=True)
class Slice:
    """The part of a source that is rehearsed on.

    Attributes:
        records: How many.
        characters: In them.
        scale: What the whole source is of it, by characters.
        drawn_scale: What the records are that a check tokenises to estimate lengths.
    """

    records: int
    characters: int
    scale: float
    drawn_scale: float


def sliced(
    config: Config,
    sources: Mapping[str, Volume],
    tasks: Mapping[str, Mapping[str, Volume]],
    folder: Path,
) -> tuple[Config, dict[str, Slice]]:
    """Write some records of everything.

    Args:
        config: As resolved.
        sources: By name.
        tasks: By split, ``validation`` and ``test``, then by task.
        folder: Where to; the small run's own folder is ``run`` in it.

    Returns:
        The small config, and the slices: of sources by name, of tasks as ``NAME-SPLIT``.
    """
    slices: dict[str, Slice] = {}
    paths: dict[str, str] = {}

    def written(name: str, volume: Volume, max_records: int, max_characters: int) -> None:
        records = _some(volume, config.seed, max_records, max_characters)
        path = folder / f"{len(paths)}.jsonl"
        path.write_text("".join(f"{_line(record)}\n" for record in records), "utf-8")
        paths[name] = str(path)
        characters = max(1, _characters(records))
        slices[name] = Slice(
            len(records),
            characters,
            volume.characters / characters,
            _characters(volume.estimate.drawn) / characters,
        )

    for name, volume in sources.items():
        written(name, volume, len(volume.estimate.drawn), CHARACTERS // len(sources))
    impact = config.impact
    for split, by_task in tasks.items():
        gradients = max(4 * impact.task_samples, impact.proxy_task_samples)
        items = max(64, impact.validation_samples, gradients)
        for task, volume in by_task.items():
            most = items if split == "validation" else TEST_ITEMS
            written(f"{task}-{split}", volume, most, CHARACTERS)
    return _small_config(config, folder, paths), slices


def _small_config(config: Config, folder: Path, paths: Mapping[str, str]) -> Config:
    def at(path: str) -> dict[str, Any]:
        # Few samples would be used up soon.
        return {"path": (path,), "format": "jsonl", "max_repeats": None}

    sources = {
        name: source.model_copy(update=at(paths[name]))
        for name, source in config.data.sources.items()
    }
    tasks = {
        name: task.model_copy(
            update={
                "validation": (paths[f"{name}-validation"],),
                "test": (paths[f"{name}-test"],),
                "format": "jsonl",
            }
        )
        for name, task in config.tasks.items()
    }
    return config.model_copy(
        update={
            "run": str(folder / "run"),
            "data": config.data.model_copy(
                update={"sources": sources, "cache": None, "on_bad_record": "skip"}
            ),
            "tasks": tasks,
            "check": config.check.model_copy(update={"on_leak": "warn"}),
        }
    )


def _some(volume: Volume, seed: int, max_records: int, max_characters: int) -> list[Record]:
    """Drawn records in an order of their own, at least one, up to a number of characters."""
    drawn = list(volume.estimate.drawn)
    random.Random(seed).shuffle(drawn)
    records, left = drawn[:1], max_characters - _characters(drawn[:1])
    for record in drawn[1:max_records]:
        left -= _characters([record])
        if left < 0:
            break
        records.append(record)
    return records


def _characters(records: Sequence[Record]) -> int:
    return sum(len(" ".join(record.texts)) for record in records)


def _line(record: Record) -> str:
    """The record as a line of JSONL says it."""
    fields: dict[str, Any] = {
        "text": record.text,
        "messages": record.messages and [vars(message) for message in record.messages],
        "prompt": record.prompt,
        "completion": record.completion,
        "choices": record.choices and list(record.choices),
        "answer": record.answer,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(known, ensure_ascii=False)
