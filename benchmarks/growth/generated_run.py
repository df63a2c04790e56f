"""A run of made-up records: so many samples, one a record, and so many domains."""

import json
from pathlib import Path

import numpy as np
import yaml

_SOURCES = ("forum", "notes", "manuals", "letters", "lists")
_VOCABULARY = 20_000
_MODEL = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "tie_word_embeddings": True,
}


def write_run(folder: Path, num_samples: int, num_domains: int) -> Path:
    """Write data and config of a run; the config's path.

    Args:
        folder: Where to.
        num_samples: Records of 16 to 24 words over five sources.
        num_domains: Clusters over all of them.
    """
    words = _words()
    for number, name in enumerate(_SOURCES):
        _write_records(folder / f"{name}.jsonl", words, num_samples // len(_SOURCES), number)
    tasks = {}
    for number, task in enumerate(("first", "second")):
        splits = {}
        for offset, split in enumerate(("validation", "test")):
            path = folder / f"{task}-{split}.jsonl"
            _write_records(path, words, 200, 100 + 2 * number + offset)
            splits[split] = str(path)
        tasks[task] = splits
    config = {
        "run": str(folder / "run"),
        "data": {
            "sources": {name: str(folder / f"{name}.jsonl") for name in _SOURCES},
            "sequence_length": 64,
        },
        "tasks": tasks,
        "tokenizer": {"train": {"vocab_size": 2048}},
        "model": {"config": _MODEL},
        "proxy": {"warmup_steps": 20},
        "features": {"dim": 128},
        "domains": {"number": num_domains, "within": "all", "min_samples": 1},
        "impact": {"domain_samples": 2},
        "mixture": {"policy": "dids", "rounds": 3},
        "budget": {"tokens": 30_000},
        "training": {"per_device_train_batch_size": 16, "learning_rate": 1e-3},
        "evaluation": {"lm_eval": False},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _words() -> np.ndarray:
    generator = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfw"))
    return np.array(["".join(generator.choice(letters, size)) for size in
                     generator.integers(3, 9, _VOCABULARY)])  # fmt: skip


def _write_records(path: Path, words: np.ndarray, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, count, 10_000):
            lengths = generator.integers(16, 25, min(10_000, count - start))
            # Ranks by a power law, as words have them.
            ranks = (_VOCABULARY ** generator.random(int(lengths.sum()))).astype(np.int64) - 1
            texts = np.split(words[ranks], np.cumsum(lengths)[:-1])
            file.writelines(f"{json.dumps({'text': ' '.join(text)})}\n" for text in texts)
