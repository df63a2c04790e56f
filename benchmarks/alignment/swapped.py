"""Impact from aligned features where tasks wear another format than the sources that would help.

``python -m benchmarks.alignment.swapped``: six sources and six tasks of the instruct pack in
``DIDS_DATA``, in pairs of like content. Every second source wears markup; tasks wear what their
source wears (matched) or the other (swapped). Each source is two domains by its features. Impact is
the cosine of mean features; the truth is the loss that training on each domain really takes off.

Axes: k domains, t tasks.
"""

import argparse
import gzip
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.alignment.planted import write_records
from benchmarks.fidelity.training import new_optimizer
from benchmarks.fidelity.truth import loss_drops
from dids.alignment import Composed
from dids.alignment.composed import tasks_of
from dids.audit.agreement import agreement
from dids.audit.checkpoint import Checkpoint, Samples
from dids.config.schema import Config
from dids.domains.clustering import clusters
from dids.domains.feature_source import directions
from dids.gradients.compute_features import features_of
from dids.gradients.projection import Projection
from dids.impact.sample_impact import impact
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages
from dids.run.workspace import Workspace

PAIRS = {
    "gsm8k_train": "gsm8k", "mathqa_dev": "mathqa", "physical_howto": "piqa",
    "yesno_facts": "boolq", "medical_qa": "pubmedqa", "science_mcq": "mmlu",
}  # fmt: skip
CHAINS: tuple[list[str], ...] = (
    [],
    ["style"],
    ["compact"],
    ["projection"],
    ["style", "projection"],
)
_SAMPLES, _ITEMS, _BASE_STEPS, _STEPS, _BATCH = 160, 48, 100, 6, 16
_MODEL = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "tie_word_embeddings": True,
}  # fmt: skip


def main() -> None:
    """Print a line for each world and seed, then the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(arguments.seeds):
            for world in ("matched", "swapped"):
                folder = Path(temporary) / f"{world}-{seed}"
                row = measured(folder, seed, is_swapped=world == "swapped")
                print(world, seed, row, flush=True)
                for name, rho in row.items():
                    found.setdefault((world, name), []).append(rho)
    for (world, name), rhos in found.items():
        print(f"{world:8} {name:18} {np.mean(rhos):.2f} ± {np.std(rhos):.2f}")


def measured(folder: Path, seed: int, *, is_swapped: bool) -> dict[str, float]:
    """Rank correlation of impact with loss drops over domains, by alignment."""
    work = _tokenised(folder, seed, is_swapped=is_swapped)
    source_n = work.dataset.source_of_sample.astype(np.int64)
    training = Samples(work.dataset, work.collate)
    tasks = {
        split: [Samples(work.task_dataset(name, split), work.collate) for name in work.scored_tasks]
        for split in ("validation", "test")
    }
    model = work.new_model(work.config.model)
    checkpoint = Checkpoint(model, new_optimizer(model, 2e-3))
    random = np.random.default_rng([seed, 3])
    for _ in range(_BASE_STEPS):
        checkpoint.step(training.batch(random.integers(len(source_n), size=_BATCH)))
    raw_nd = _directions(model, training, seed)
    task_rows = [_directions(model, task, seed) for task in tasks["validation"]]
    domain_n = clusters(
        raw_nd, source_n, 2 * len(PAIRS), "source", seed, num_sources=len(PAIRS), min_samples=8
    )
    domains = [np.flatnonzero(domain_n == domain) for domain in np.unique(domain_n)]
    drop_kt = loss_drops(
        checkpoint, training, domains, tasks["test"],
        [np.arange(task.size) for task in tasks["test"]],
        num_steps=[_STEPS], batch_size=_BATCH, random=random,
    )[0]  # fmt: skip
    rhos = {}
    for names in CHAINS:
        fitted = Composed.fit(names, raw_nd, source_n, np.concatenate(task_rows), seed=seed)
        aligned_nd = torch.from_numpy(fitted.aligned(raw_nd, source_n))
        aligned = [torch.from_numpy(fitted.aligned(rows, tasks_of(rows))) for rows in task_rows]
        score_kt = impact(
            [aligned_nd[members] for members in domains], aligned, metric="cosine", num_replicates=0
        ).value_kt
        rhos[", ".join(names) or "none"] = round(agreement(score_kt, drop_kt).rho, 3)
    return rhos


def _directions(model: torch.nn.Module, samples: Samples, seed: int) -> np.ndarray:
    everything = np.arange(samples.size)
    feature_nd = features_of(
        model, samples.dataset, samples.collate, Projection(512, seed=seed), everything,
        batch_tokens=4096,
    )  # fmt: skip
    return directions(feature_nd, everything)


def _tokenised(folder: Path, seed: int, *, is_swapped: bool) -> Workspace:
    """A run brought up to its tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    pack, draw = Path(os.environ["DIDS_DATA"]), np.random.default_rng([seed, 2])
    tasks = {}
    for place, (source, task) in enumerate(PAIRS.items()):
        is_markup = place % 2 == 1
        places = {f"{source}.jsonl": pack / "train" / f"{source}.jsonl.gz"}
        for split in ("validation", "test"):
            places[f"{task}-{split}.jsonl"] = pack / "tasks" / task / f"{split}.jsonl.gz"
        for name, path in places.items():
            is_source = name.startswith(f"{source}.")
            with gzip.open(path, "rt", encoding="utf-8") as file:
                lines = file.readlines()
            chosen = draw.permutation(len(lines))[: _SAMPLES if is_source else _ITEMS]
            dressed = is_markup if is_source else is_markup != is_swapped
            write_records(folder / name, [worn(json.loads(lines[i]), dressed) for i in chosen])
        tasks[task] = {s: str(folder / f"{task}-{s}.jsonl") for s in ("validation", "test")}
    config = Config.model_validate(
        {
            "run": str(folder / "run"),
            "seed": seed,
            "data": {
                "sources": {source: str(folder / f"{source}.jsonl") for source in PAIRS},
                "sequence_length": 128,
            },
            "tasks": tasks,
            "check": {"on_leak": "warn", "near_duplicates": False},
            "tokenizer": {"train": {"vocab_size": 2048}},
            "model": {"config": _MODEL},
            "budget": {"tokens": 1},
        }
    )
    return run_stages(config, RunFolder(folder / "run"), ConsoleProgress(), last="tokens")


def worn(record: dict[str, Any], is_markup: bool) -> dict[str, object]:
    """A record as prompt and completion, plain or in markup."""
    if "messages" in record:
        prompt, completion = (message["content"] for message in record["messages"][-2:])
    else:
        prompt, completion = record["prompt"], record["completion"]
    if is_markup:
        prompt = f'<div class="question">\n<p>{prompt}</p>\n</div>'
        completion = f'<div class="answer">\n<p>{completion.strip()}</p>\n</div>'
    return {"prompt": prompt, "completion": completion}


if __name__ == "__main__":
    main()
