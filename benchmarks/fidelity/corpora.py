"""The corpora: instruction data, Python's own texts, and generated exercises."""

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.fidelity.exercises import write_exercises
from dids.config import Config

_MODEL = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip


def instruct(folder: Path, seed: int) -> Config:
    """Sources of the instruct pack in ``DIDS_DATA`` as domains, its tasks that have completions.

    Raises:
        FileNotFoundError: If the pack is not there.
    """
    pack = Path(os.environ.get("DIDS_DATA", ""))
    sources = {
        path.name.removesuffix(".jsonl.gz"): str(path)
        for path in sorted(pack.glob("train/*.jsonl.gz"))
    }
    if not sources:
        raise FileNotFoundError("DIDS_DATA must name the folder of the instruct pack.")
    tasks = {
        path.parent.name: {
            "validation": str(path.with_name("validation.jsonl.gz")),
            "test": str(path),
        }
        for path in sorted(pack.glob("tasks/*/test.jsonl.gz"))
        if path.parent.name != "ifeval"  # it has no completions
    }
    # Sources of these tasks reuse sentences with other numbers and names.
    leaks = ("gsm8k", "mathqa", "piqa")
    return _config(
        folder, seed, sources, tasks, "sources", sequence_length=160, allowed_leaks=leaks
    )


def python(folder: Path, seed: int) -> Config:
    """Gradient clusters of Python's own texts as domains, held-out files of four parts as tasks."""
    parts = ("code", "docstrings", "reference", "headers", "licences", "tables")
    tasks = {
        part: {"validation": f"python:{part}:validation", "test": f"python:{part}:test"}
        for part in parts[:4]
    }
    sources = {part: f"python:{part}" for part in parts}
    # Files say what others of their part say.
    leaks = tuple(tasks)
    return _config(folder, seed, sources, tasks, 16, sequence_length=128, allowed_leaks=leaks)


def exercises(folder: Path, seed: int) -> Config:
    """Generated exercises, a source a skill; tasks need two of them, or dress them otherwise."""
    texts = folder.parent / "exercises"
    sources, tasks = write_exercises(texts)
    return _config(folder, seed, sources, tasks, "sources", sequence_length=64)


CORPORA: dict[str, Callable[[Path, int], Config]] = {
    "instruct": instruct,
    "python": python,
    "exercises": exercises,
}


def _config(
    folder: Path,
    seed: int,
    sources: dict[str, str],
    tasks: dict[str, dict[str, str]],
    number: int | str,
    *,
    sequence_length: int,
    allowed_leaks: tuple[str, ...] = (),
) -> Config:
    return Config.model_validate(
        {
            "run": str(folder),
            "seed": seed,
            "data": {
                "sources": sources,
                "sequence_length": sequence_length,
                "cache": str(folder.parent / "tokens"),
            },
            "tasks": tasks,
            "check": {"allowed_leaks": allowed_leaks},
            "tokenizer": {"train": {"vocab_size": 2048}},
            "model": {"config": _MODEL},
            "proxy": {
                "config": {**_MODEL, "hidden_size": 64, "num_hidden_layers": 1},
                "warmup_steps": 100 if number != "sources" else 0,
            },
            "domains": {"number": number},
            "budget": {"tokens": 1},
        }
    )
