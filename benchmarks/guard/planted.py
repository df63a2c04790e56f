"""A corpus of short records in which it is known what repeats what, and what has leaked.

Every kind of fault has a source of its own, so that counts by source say what was found rightly.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import yaml

NUM_ITEMS = 1000
"""Test items of the task."""
KEPT_WORDS = (50, 30, 13)
"""Of an item's 50 words, those that stand in a record of `leaky`: all, a leak in part, no leak."""
NUM_LEAKED = 200
"""Items of each of these kinds."""
SHARES = {"web": 0.86, "again": 0.04, "copies": 0.04, "decoys": 0.04, "leaky": 0.02}
"""Of the records. `again` repeats records of `web`, `copies` adds one word to them (similarity 0.94
or more), `decoys` changes a word in their middle (0.52 to 0.75): these are no duplicates."""

_VOCABULARY = 50_000
_NEW_WORD = _VOCABULARY
_LETTERS = 6
_MIN_WORDS, _MAX_WORDS = 20, 40
_ITEM_WORDS = 50
_AT_ONCE = 20_000


@dataclass(frozen=True)
class Planted:
    """The corpus on disk."""

    config: Path
    num_records: int
    size_by_source: dict[str, int]
    num_bytes: int


def planted_corpus(folder: Path, num_records: int, *, near_duplicates: bool) -> Planted:
    """Write the corpus, unless it is there, and a config.

    Args:
        folder: Where to.
        num_records: Of all sources together.
        near_duplicates: The config's setting.

    Returns:
        The corpus.
    """
    sizes = {name: round(share * num_records) for name, share in SHARES.items()}
    mark = folder / "whole"
    if not mark.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, sizes)
        mark.touch()
    config = folder / f"config-{near_duplicates}.yaml"
    config.write_text(
        yaml.safe_dump(_config(folder, near_duplicates), sort_keys=False), encoding="utf-8"
    )
    num_bytes = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
    return Planted(config, num_records, sizes, num_bytes)


def _write(folder: Path, sizes: dict[str, int]) -> None:
    generator = np.random.default_rng(0)
    items = _draw(generator, NUM_ITEMS, _ITEM_WORDS)
    (folder / "quiz-test.jsonl").write_bytes(_lines(items, b"prompt"))
    (folder / "quiz-validation.jsonl").write_bytes(b'{"prompt": "one item that nothing repeats"}')
    with ExitStack() as stack:
        files = {n: stack.enter_context((folder / f"{n}.jsonl").open("wb")) for n in sizes}
        left = dict(sizes)
        while left["web"] > 0:
            num_records = min(_AT_ONCE, left["web"])
            web = _draw(generator, num_records, int(generator.integers(_MIN_WORDS, _MAX_WORDS)))
            files["web"].write(_lines(web))
            left["web"] -= num_records
            take = -(-num_records * sizes["again"] // sizes["web"])
            for number, (name, change) in enumerate(_CHANGES.items()):
                count = min(take, left[name])
                files[name].write(_lines(change(web[take * number :][:count])))
                left[name] -= count
        _write_leaky(files["leaky"], sizes["leaky"], items, generator)


def _write_leaky(
    file: BinaryIO, size: int, items: np.ndarray, generator: np.random.Generator
) -> None:
    """Records with a part of an item behind their own words, then records without."""
    for number, kept in enumerate(KEPT_WORDS):
        some = items[number * NUM_LEAKED : (number + 1) * NUM_LEAKED, :kept]
        file.write(_lines(np.hstack([_draw(generator, NUM_LEAKED, _MIN_WORDS), some])))
    file.write(_lines(_draw(generator, size - len(KEPT_WORDS) * NUM_LEAKED, _MIN_WORDS)))


def _draw(generator: np.random.Generator, num_records: int, num_words: int) -> np.ndarray:
    """Word numbers, few of them often and most of them seldom."""
    skewed = generator.random((num_records, num_words), dtype=np.float32) ** 3
    return (_VOCABULARY * skewed).astype(np.int32)


def _longer(word_rw: np.ndarray) -> np.ndarray:
    return np.hstack([word_rw, np.full((len(word_rw), 1), _NEW_WORD, word_rw.dtype)])


def _changed(word_rw: np.ndarray) -> np.ndarray:
    changed_rw = word_rw.copy()
    changed_rw[:, word_rw.shape[1] // 2] = _NEW_WORD
    return changed_rw


_CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "again": lambda word_rw: word_rw,
    "copies": _longer,
    "decoys": _changed,
}


def _lines(word_rw: np.ndarray, field: bytes = b"text") -> bytes:
    """JSON lines of records of the same length; a word is its number in six letters."""
    letter_rwl = word_rw[:, :, None] // 26 ** np.arange(_LETTERS) % 26 + ord("a")
    text = np.full((*word_rw.shape, _LETTERS + 1), ord(" "), dtype=np.uint8)
    text[:, :, :_LETTERS] = letter_rwl
    begin, end = (
        np.broadcast_to(np.frombuffer(part, np.uint8), (len(word_rw), len(part)))
        for part in (b'{"' + field + b'": "', b'"}\n')
    )
    text_rc = text.reshape(len(word_rw), word_rw.shape[1] * (_LETTERS + 1))[:, :-1]
    return np.hstack([begin, text_rc, end]).tobytes()


def _config(folder: Path, near_duplicates: bool) -> dict[str, object]:
    return {
        "run": str(folder / "run"),
        "data": {"sources": {name: str(folder / f"{name}.jsonl") for name in SHARES}},
        "tasks": {"quiz": {s: str(folder / f"quiz-{s}.jsonl") for s in ("validation", "test")}},
        "check": {"near_duplicates": near_duplicates},
        "tokenizer": {"train": {"vocab_size": 2048}},
        "model": {"config": {"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 1}},
        "budget": {"tokens": 1_000_000},
    }
