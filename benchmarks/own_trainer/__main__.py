"""The command: ``python -m benchmarks.own_trainer`` trains what is not trained yet, then prints.

The instruct pack in ``DIDS_DATA``: nineteen sources as domains, eight tasks with a loss. A base
model is trained on a uniform mixture, and every entrant goes on from it: no proxy, no features, no
clusters, a plain ``DidsTrainer``. All entrants of a seed see the same number of samples.
"""

import argparse
import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PrinterCallback, TrainingArguments

from dids.atomic import read_json, write_json
from dids.compare.paired import paired
from dids.config import Config, load_config
from dids.evaluation import task_loss
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages
from dids.run.workspace import Workspace
from dids.training import DidsTrainer, DomainMixture, PolicyMixture

_CONFIG = Path(__file__).parent.parent / "contest" / "instruct.yaml"
_BATCH = 16

ENTRANTS: dict[str, Callable[[dict[str, int]], DomainMixture]] = {
    "uniform": lambda sizes: DomainMixture(dict.fromkeys(sizes, 1.0 / len(sizes)), sizes),
    "dids": PolicyMixture,
    "dids, hardly measured first": lambda sizes: PolicyMixture(sizes, first_overhead=0.01),
    "dids, caution 3": lambda sizes: PolicyMixture(sizes, settings={"caution": 3.0}),
    "dga": lambda sizes: PolicyMixture(sizes, policy="dga"),
    "loss-softmax": lambda sizes: PolicyMixture(sizes, policy="loss-softmax"),
}


def main() -> None:
    """Train what is missing, print every entrant's test loss against uniform's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/own-trainer"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--entrants", nargs="+", choices=list(ENTRANTS), default=list(ENTRANTS))
    parser.add_argument("--base-steps", type=int, default=200, help="0: from scratch")
    parser.add_argument("--steps", type=int, default=500)
    arguments = parser.parse_args()
    if "DIDS_DATA" not in os.environ:
        parser.error("DIDS_DATA must name the folder of the instruct pack.")
    torch.set_num_threads(1)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.entrants}
    for seed in arguments.seeds:
        kept = arguments.work / f"base-{arguments.base_steps}" / f"steps-{arguments.steps}"
        paths = {name: kept / f"{seed}-{name}.json" for name in arguments.entrants}
        if not all(path.exists() for path in paths.values()):
            work = _prepared(arguments.work / f"data-{seed}", seed)
            base = _base(work, arguments.base_steps, seed)
            for name, path in paths.items():
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_json(path, _one(work, base, name, arguments.steps, seed))
                    print(f"seed {seed}, {name}: done", flush=True)
        for name, path in paths.items():
            results[name].append(read_json(path))
    print(table(results))


def _prepared(folder: Path, seed: int) -> Workspace:
    raw = load_config(_CONFIG).model_dump(mode="json")
    config = Config.model_validate({**raw, "run": str(folder), "seed": seed})
    return run_stages(config, RunFolder(folder), ConsoleProgress(), last="tokens")


def _base(work: Workspace, steps: int, seed: int) -> PreTrainedModel:
    model = work.new_model(work.config.model)
    if steps > 0:
        _train(work, model, ENTRANTS["uniform"](_sizes(work)), steps, seed + 1000)
    return model


def _one(
    work: Workspace, base: PreTrainedModel, entrant: str, steps: int, seed: int
) -> dict[str, Any]:
    """Test losses of an entrant, and what measuring cost it."""
    model = copy.deepcopy(base)
    mixture = ENTRANTS[entrant](_sizes(work))
    _train(work, model, mixture, steps, seed)
    losses = {
        task: task_loss(model, work.task_dataset(task, "test"), work.collate, batch_size=32)
        for task in work.scored_tasks
    }
    history = mixture.history if isinstance(mixture, PolicyMixture) else None
    return {
        "losses": {task: loss.loss for task, loss in losses.items() if loss is not None},
        "tokens": mixture.sampler.tokens(steps),
        "overhead": 0.0 if history is None else history.overhead,
        "mixture": None if history is None else history.mixture[-1]["probability"],
    }


def _sizes(work: Workspace) -> dict[str, int]:
    return {store.name: store.num_samples for store in work.source_stores}


def _train(
    work: Workspace, model: PreTrainedModel, mixture: DomainMixture, steps: int, seed: int
) -> None:
    trainer = DidsTrainer(
        model=model,
        args=TrainingArguments(
            str(work.path("scratch")),
            max_steps=steps,
            per_device_train_batch_size=_BATCH,
            learning_rate=1e-3,
            lr_scheduler_type="cosine",
            warmup_steps=30,
            seed=seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
        ),
        train_dataset=work.dataset,
        eval_dataset={task: work.task_dataset(task, "validation") for task in work.scored_tasks},
        data_collator=work.collate,
        mixture=mixture,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """A line for each entrant: mean test loss against uniform's, paired by seed, 95 %.

    Args:
        results: By entrant what `_one` found, seed by seed; of ``uniform``, too.
    """
    means = {
        name: np.array([np.mean(list(one["losses"].values())) for one in each])
        for name, each in results.items()
    }
    lines = [
        "| entrant | mean test loss | of uniform's | tasks below | tokens | measuring |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in results.items():
        ratio_s = 100.0 * (means[name] / means["uniform"] - 1.0)
        below = sum(
            np.mean([one["losses"][task] for one in each])
            < np.mean([one["losses"][task] for one in results["uniform"]])
            for task in each[0]["losses"]
        )
        by_seed = ", ".join(f"{ratio:+.1f}" for ratio in ratio_s)
        spread = f"{ratio_s.mean():+.1f} % ({_interval(ratio_s)}; {by_seed})"
        tokens = np.mean([one["tokens"] for one in each])
        overhead = np.mean([one["overhead"] for one in each])
        lines.append(
            f"| `{name}` | {means[name].mean():.3f} | {spread} | {below} of "
            f"{len(each[0]['losses'])} | {tokens:,.0f} | {100 * overhead:.1f} % |"
        )
    return "\n".join(lines)


def _interval(values: np.ndarray) -> str:
    found = paired(values)
    return "one seed" if found.low is None else f"{found.low:+.1f} to {found.high:+.1f}"


if __name__ == "__main__":
    main()
