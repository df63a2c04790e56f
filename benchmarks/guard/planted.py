"""A corpus of short records in which it is known what repeats what, and what has leaked.

Every kind of fault has a source of its own, so that counts by source say what was found rightly.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

NUM_ITEMS = 1000
"""Test items of the task."""
NUM_LEAKED = 200
"""Items of each kind in source `leaky`: whole, 30 of 50 words, 13 of 50 words (no leak)."""
SHARES = {"web": 0.86, "again": 0.04, "copies": 0.04, "decoys": 0.04, "leaky": 0.02}
"""Of the records. `again` repeats records of `web`, `copies` adds one word to them (similarity 0.94
or more), `decoys` changes a word in their middle (0.52 to 0.75): these are no duplicates."""

_VOCABULARY = 50_000
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
    words = np.array([np.base_repr(1000 + 37 * n, 36).lower() for n in range(_VOCABULARY)])
    items = [" ".join(words[row]) for row in _draw(generator, (NUM_ITEMS, _ITEM_WORDS))]
    for split, some in {"test": items, "validation": ["one item that nothing repeats"]}.items():
        lines = (json.dumps({"prompt": text}) + "\n" for text in some)
        (folder / f"quiz-{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    files = {name: (folder / f"{name}.jsonl").open("w", encoding="utf-8") for name in sizes}
    left = dict(sizes)
    while left["web"] > 0:
        lengths = generator.integers(_MIN_WORDS, _MAX_WORDS, min(_AT_ONCE, left["web"]))
        drawn = words[_draw(generator, (int(lengths.sum()),))].tolist()
        ends = np.cumsum(lengths).tolist()
        texts = [drawn[end - n : end] for n, end in zip(lengths.tolist(), ends, strict=True)]
        files["web"].writelines(_line(text) for text in texts)
        left["web"] -= len(texts)
        take = -(-len(texts) * sizes["again"] // sizes["web"])
        for name, change in _CHANGES.items():
            count = min(take, left[name])
            start = take * list(sizes).index(name)
            files[name].writelines(_line(change(text)) for text in texts[start : start + count])
            left[name] -= count
    leaks = _leaks(items)
    for number in range(sizes["leaky"]):
        own = words[_draw(generator, (_MIN_WORDS,))].tolist()
        files["leaky"].write(_line([*own, *next(leaks, [])] if number % 3 == 0 else own))
    for file in files.values():
        file.close()


def _draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Word numbers, few of them often and most of them seldom."""
    return np.asarray(_VOCABULARY * generator.random(shape) ** 3, dtype=np.int64)


def _longer(text: list[str]) -> list[str]:
    return [*text, "again"]


def _changed(text: list[str]) -> list[str]:
    middle = len(text) // 2
    return [*text[:middle], "otherwise", *text[middle + 1 :]]


_CHANGES: dict[str, Callable[[list[str]], list[str]]] = {
    "again": list,
    "copies": _longer,
    "decoys": _changed,
}


def _leaks(items: list[str]) -> Iterator[list[str]]:
    kept = [_ITEM_WORDS] * NUM_LEAKED + [30] * NUM_LEAKED + [13] * NUM_LEAKED
    for item, count in zip(items, kept, strict=False):
        yield item.split()[:count]


def _line(text: list[str]) -> str:
    return f'{{"text": "{" ".join(text)}"}}\n'


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
