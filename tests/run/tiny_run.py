"""A run of seconds: three small sources, two tasks, a model of a few thousand parameters."""

import json
import random
from pathlib import Path

import yaml

WORDS = {
    "sums": ["one", "two", "three", "four", "five", "six", "seven", "plus", "minus", "equals"],
    "colours": ["red", "green", "blue", "yellow", "sky", "grass", "sea", "sun", "is", "like"],
    "noise": ["zz", "qq", "xx", "kk", "jj", "ww", "vv", "pp"],
}


def line(words: list[str], generator: random.Random) -> str:
    return " ".join(generator.choice(words) for _ in range(generator.randint(4, 16)))


def write_jsonl(path: Path, records: list[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")


def write_tiny_data(folder: Path) -> None:
    """Sources with text, chats and prompts; a task with completions and one with choices."""
    generator = random.Random(0)
    sums, colours, noise = WORDS.values()
    write_jsonl(
        folder / "sums.jsonl",
        [{"prompt": line(sums, generator), "completion": line(sums, generator)} for _ in range(60)],
    )
    write_jsonl(
        folder / "colours.jsonl",
        [
            {
                "messages": [
                    {"role": "user", "content": line(colours, generator)},
                    {"role": "assistant", "content": line(colours, generator)},
                ]
            }
            for _ in range(60)
        ],
    )
    write_jsonl(folder / "noise.jsonl", [{"text": line(noise, generator)} for _ in range(40)])
    for split in ("validation", "test"):
        write_jsonl(
            folder / f"sums-{split}.jsonl",
            [
                {"prompt": line(sums, generator), "completion": line(sums, generator)}
                for _ in range(12)
            ],
        )
        items = []
        for number in range(8):
            choices = [line(colours, generator) for _ in range(3)]
            items.append(
                {
                    "prompt": line(colours, generator),
                    "choices": choices,
                    "answer": number % 3,
                    "completion": choices[number % 3],
                }
            )
        write_jsonl(folder / f"colours-{split}.jsonl", items)


def tiny_config(folder: Path, **changes: object) -> dict[str, object]:
    """The config of a tiny run as plain values."""
    config: dict[str, object] = {
        "run": str(folder / "run"),
        "seed": 0,
        "data": {
            "sources": {name: str(folder / f"{name}.jsonl") for name in WORDS},
            "sequence_length": 32,
        },
        "tasks": {
            task: {
                "validation": str(folder / f"{task}-validation.jsonl"),
                "test": str(folder / f"{task}-test.jsonl"),
            }
            for task in ("sums", "colours")
        },
        "tokenizer": {"train": {"vocab_size": 300}},
        "model": {
            "config": {
                "model_type": "llama",
                "hidden_size": 16,
                "intermediate_size": 24,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "tie_word_embeddings": True,
            }
        },
        "proxy": {"warmup_steps": 4},
        "features": {"dim": 64},
        "domains": {"number": 4, "within": "source", "min_samples": 5},
        "impact": {"validation_samples": 4, "min_measurements": 4},
        "mixture": {"policy": "dids", "rounds": 4},
        "budget": {"tokens": 4000},
        "training": {
            "per_device_train_batch_size": 4,
            "learning_rate": 0.01,
            "logging_steps": 5,
        },
        "control": "uniform",
        "evaluation": {"lm_eval": False},
    }
    return {**config, **changes}


def write_config(folder: Path, **changes: object) -> Path:
    """Data and config in a folder; the config's path."""
    if not (folder / "sums.jsonl").exists():
        write_tiny_data(folder)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tiny_config(folder, **changes)), encoding="utf-8")
    return path
