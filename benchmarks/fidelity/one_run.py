"""One corpus, one seed: train, stop, try every domain, ask every estimator.

Axis letters: k domains, t tasks.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fidelity.corpora import CORPORA
from benchmarks.fidelity.estimators import ESTIMATORS
from benchmarks.fidelity.evidence import gathered_evidence
from benchmarks.fidelity.training import new_optimizer
from benchmarks.fidelity.truth import loss_drops
from dids.audit.agreement import agreement, mean_agreement
from dids.audit.checkpoint import Checkpoint, Samples
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages
from dids.run.workspace import Workspace

CEILING = "two measurements of the truth with each other: the ceiling"


@dataclass(frozen=True)
class Protocol:
    """How it is measured.

    Attributes:
        num_steps: Steps of the base run, on a uniform mixture.
        checkpoints: Steps after which it is stopped: early, in the middle, late.
        horizons: Steps on each domain alone.
        batch_size: Samples of a step.
        learning_rate: Greatest; a cosine after twenty steps of warmup.
        items: Test items of each task, in each of two measurements of the truth.
        samples: Gradients of each domain and each task that estimators get.
    """

    num_steps: int = 400
    checkpoints: tuple[int, ...] = (40, 160, 300)
    horizons: tuple[int, ...] = (1, 4, 10)
    batch_size: int = 16
    learning_rate: float = 2e-3
    items: int = 24
    samples: int = 32

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        warmup = min(1.0, (step + 1) / 20)
        return float(
            self.learning_rate * warmup * 0.5 * (1 + np.cos(np.pi * step / self.num_steps))
        )


def measured_run(corpus: str, seed: int, folder: Path, protocol: Protocol) -> dict[str, Any]:
    """Agreement of every estimator, by checkpoint and horizon; JSON values."""
    config = CORPORA[corpus](folder, seed)
    work = run_stages(config, RunFolder(Path(config.run)), ConsoleProgress(), last="domains")
    training = Samples(work.dataset, work.collate)
    domains = work.dataset.scored(work.domain_data.members)
    model = work.new_model(config.model)
    checkpoint = Checkpoint(model, new_optimizer(model, protocol.learning_rate))
    random = np.random.default_rng([seed, 1])
    found = []
    for step in range(max(protocol.checkpoints) + 1):
        if step in protocol.checkpoints:
            found.append(_at_checkpoint(work, checkpoint, training, domains, step, protocol))
        for group in checkpoint.optimizer.param_groups:
            group["lr"] = protocol.rate(step)
        drawn = random.integers(len(domains), size=protocol.batch_size)
        checkpoint.step(training.batch(np.array([random.choice(domains[k]) for k in drawn])))
    return {"corpus": corpus, "seed": seed, "num_domains": len(domains), "checkpoints": found}


def _at_checkpoint(
    work: Workspace,
    checkpoint: Checkpoint,
    training: Samples,
    domains: list[np.ndarray],
    step: int,
    protocol: Protocol,
) -> dict[str, Any]:
    seed = work.config.seed
    tasks = {
        split: [Samples(work.task_dataset(task, split), work.collate) for task in work.scored_tasks]
        for split in ("validation", "test")
    }
    orders = [np.random.default_rng([seed, 2]).permutation(task.size) for task in tasks["test"]]
    drops = [
        loss_drops(
            checkpoint, training, domains, tasks["test"],
            [order[half * protocol.items :][: protocol.items] for order in orders],
            num_steps=protocol.horizons, batch_size=protocol.batch_size,
            random=np.random.default_rng([seed, step, half]),
        )
        for half in range(2)
    ]  # fmt: skip
    evidence = gathered_evidence(
        checkpoint, training, domains, tasks["validation"],
        num_samples=protocol.samples, batch_size=protocol.batch_size,
        random=np.random.default_rng([seed, step, 7]),
    )  # fmt: skip
    scores = {name: estimate(evidence) for name, estimate in ESTIMATORS.items()}
    by_horizon = {}
    for index, horizon in enumerate(protocol.horizons):
        first, second = drops[0][index], drops[1][index]
        rows = {CEILING: agreement(first, second)}
        for name, score in scores.items():
            rows[name] = mean_agreement(agreement(score, first), agreement(score, second))
        by_horizon[str(horizon)] = {name: row.to_json() for name, row in rows.items()}
    return {"step": step, "horizons": by_horizon}
