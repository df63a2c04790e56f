"""One planted corpus measured: clusters by alignment, and what of two tasks is unexplained.

Axes: n samples, d feature dimensions.
"""

from pathlib import Path

import numpy as np

from benchmarks.alignment.planted import (
    FORMATS,
    NUM_TOPICS,
    record,
    topic_words,
    write_corpus,
    write_records,
)
from dids.alignment import Composed, Projection
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

CHAINS: tuple[tuple[str, ...], ...] = (
    (),
    ("style",),
    ("compact",),
    ("projection",),
    ("style", "compact"),
    ("style", "projection"),
    ("style", "projection", "compact"),
)
TASKS = {"known": 0, "strange": NUM_TOPICS}
"""Tasks in a format that no source has: of a topic that the sources have, and of one they lack."""
_TASK_ITEMS = 48


def measured(
    folder: Path, sizes: list[int], shares: np.ndarray, seed: int
) -> dict[str, dict[str, float]]:
    """Agreement of clusters with content and format, by alignment; unexplained shares by task."""
    work, planted = _with_features(folder, sizes, shares, seed)
    source_n = work.dataset.source_of_sample.astype(np.int64)
    raw_nd = directions(computed_features(work), np.arange(len(source_n)))
    task_rows = task_directions(work)
    task_td = np.concatenate(list(task_rows.values()))
    found = {}
    for names in CHAINS:
        fitted = Composed.fit(names, raw_nd, source_n, task_td, seed=seed)
        cluster_n = clusters(
            fitted.aligned(raw_nd, source_n), source_n, NUM_TOPICS, "all", seed,
            num_sources=len(FORMATS), min_samples=1,
        )  # fmt: skip
        row = {
            name: adjusted_mutual_information(cluster_n, planted[name])
            for name in ("content", "format")
        }
        for place, part in enumerate(fitted.parts):
            if isinstance(part, Projection):
                for task, rows in task_rows.items():
                    before_md = fitted.before(place, rows, tasks_of(rows))
                    account = task_account(part, before_md, list(work.sources))
                    row[task] = account.unexplained["domain"]
        found[" + ".join(names) or "none"] = row
    return found


def _with_features(
    folder: Path, sizes: list[int], shares: np.ndarray, seed: int
) -> tuple[Workspace, dict[str, np.ndarray]]:
    """A run brought up to its features."""
    folder.mkdir(parents=True, exist_ok=True)
    planted = write_corpus(folder, sizes, shares, seed)
    generator, words = np.random.default_rng([seed, 2]), topic_words()
    for task, topic in TASKS.items():
        for split in ("validation", "test"):
            items = [record("plain", words[topic], generator) for _ in range(_TASK_ITEMS)]
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
