"""One planted corpus measured: clusters by alignment, and what of two tasks is unexplained.

Axes: n samples, d feature dimensions.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alignment.planted import (
    FORMATS,
    NUM_TOPICS,
    record,
    topic_words,
    write_corpus,
    write_records,
)
from dids.alignment import ALIGNMENTS, Projection
from dids.alignment.composed import tasks_of
from dids.alignment.unexplained import task_account
from dids.config.schema import Config
from dids.domains.agreement import adjusted_mutual_information
from dids.domains.clustering import clusters
from dids.domains.feature_source import directions
from dids.run.alignment import task_directions
from dids.run.features import computed_features
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages
from dids.run.workspace import Workspace

Step = tuple[str, dict[str, Any]]
CHAINS: dict[str, tuple[Step, ...]] = {
    "none": (),
    "style": (("style", {}),),
    "style, diagonal": (("style", {"covariance": "diagonal"}),),
    "style, to the tasks": (("style", {"to": "tasks"}),),
    "compact": (("compact", {}),),
    "projection": (("projection", {}),),
    "style, compact": (("style", {}), ("compact", {})),
    "style, projection": (("style", {}), ("projection", {})),
    "style, projection, compact": (("style", {}), ("projection", {}), ("compact", {})),
}
TASKS = {
    "known in known": (0, "chat"),
    "strange in known": (NUM_TOPICS, "chat"),
    "known in strange": (0, "plain"),
    "strange in strange": (NUM_TOPICS, "plain"),
}
"""Tasks: a topic that the sources have or one they lack, in a format they have or one they lack."""
_TASK_ITEMS = 48


def measured(
    folder: Path, sizes: list[int], shares: np.ndarray, seed: int
) -> dict[str, dict[str, float]]:
    """Agreement of clusters with content and format, by alignment; unexplained shares by task."""
    work, planted = _with_features(folder, sizes, shares, seed)
    source_n = work.dataset.source_of_sample.astype(np.int64)
    raw_nd = directions(computed_features(work), np.arange(len(source_n)))
    task_rows = task_directions(work)
    found = {}
    for label, steps in CHAINS.items():
        aligned_nd, aligned_tasks, row = raw_nd, task_rows, {}
        for name, settings in steps:
            task_td = np.concatenate(list(aligned_tasks.values()))
            part = ALIGNMENTS[name].fit(aligned_nd, source_n, task_td, seed=seed, **settings)
            if isinstance(part, Projection):
                for task, rows in aligned_tasks.items():
                    account = task_account(part, rows, list(work.sources))
                    row[task] = account.unexplained["domain"]
            aligned_nd = part.aligned(aligned_nd, source_n)
            aligned_tasks = {
                task: part.aligned(rows, tasks_of(rows)) for task, rows in aligned_tasks.items()
            }
        cluster_n = clusters(
            aligned_nd, source_n, NUM_TOPICS, "all", seed,
            num_sources=len(FORMATS), min_samples=1,
        )  # fmt: skip
        for name in ("content", "format"):
            row[name] = adjusted_mutual_information(cluster_n, planted[name])
        found[label] = row
    return found


def _with_features(
    folder: Path, sizes: list[int], shares: np.ndarray, seed: int
) -> tuple[Workspace, dict[str, np.ndarray]]:
    """A run brought up to its features."""
    folder.mkdir(parents=True, exist_ok=True)
    planted = write_corpus(folder, sizes, shares, seed)
    generator, words = np.random.default_rng([seed, 2]), topic_words()
    for task, (topic, form) in TASKS.items():
        for split in ("validation", "test"):
            items = [record(form, words[topic], generator) for _ in range(_TASK_ITEMS)]
            write_records(folder / f"{task}-{split}.jsonl", items)
    config = Config.model_validate(
        {
            "run": str(folder / "run"),
            "seed": seed,
            "data": {
                "sources": {name: str(folder / f"{name}.jsonl") for name in FORMATS},
                "sequence_length": 192,
            },
            "tasks": {
                task: {split: str(folder / f"{task}-{split}.jsonl") for split in
                       ("validation", "test")}
                for task in TASKS
            },
            "check": {"on_leak": "warn", "near_duplicates": False},
            "tokenizer": {"train": {"vocab_size": 1024}},
            "model": {
                "config": {
                    "model_type": "llama",
                    "hidden_size": 64,
                    "intermediate_size": 128,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 4,
                    "tie_word_embeddings": True,
                }
            },
            "features": {"dim": 512},
            "training": {"per_device_train_batch_size": 8, "learning_rate": 0.003},
            "budget": {"tokens": 10_000},
        }
    )  # fmt: skip
    work = run_stages(config, RunFolder(folder / "run"), ConsoleProgress(), last="features")
    return work, planted
