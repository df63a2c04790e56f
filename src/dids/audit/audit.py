"""The audit: how every domain was said to act on every task, and how it does.

Every domain is trained on for some steps, beside samples of all domains or alone, and the tasks'
losses are compared with those after the same steps without it. That is done twice, on other samples
and other validation items. How well the two agree is the most that any estimate can reach.

Axis letters: k domains, t tasks, r repeats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from dids.atomic import read_json, write_json
from dids.audit.agreement import Agreement, agreement, mean_agreement
from dids.audit.checkpoint import Checkpoint, Samples
from dids.audit.effects import loss_drops, losses_after
from dids.audit.starting_point import (
    StartingPoint,
    starting_folder,
    starting_key,
    starting_point,
)
from dids.checksum import seal
from dids.errors import InputError
from dids.impact.blockwise_products import Within
from dids.impact.estimate import ImpactEstimator
from dids.impact.measuring_budget import MeasuringBudget
from dids.run.measuring import before_training, estimator, every_round
from dids.run.workspace import Workspace

FOLDER_NAME = "audit"
RESULT_NAME = "audit.json"
_EFFECTS_NAME = "effects.json"
METRICS: tuple[Within, ...] = ("fisher", "damped", "step")
"""That impact is asked in."""
_REPEATS = 2
_LEAST_ITEMS = 2
_ITEMS_STREAM, _BESIDE_STREAM = 17, 2**20


@dataclass(frozen=True)
class AuditSettings:
    """What is trained, and how it is measured.

    Attributes:
        at: Where it starts.
        steps: Optimizer steps on every domain.
        batch_size: Samples of a step.
        share: Part of these that the domain has; the others are drawn from all domains alike, and
            are the same for every domain. 1: it has all.
        items: Validation items of each task whose loss is measured, in each repeat.
    """

    at: StartingPoint = "proxy"
    steps: int = 16
    batch_size: int = 16
    share: float = 0.25
    items: int = 24

    @property
    def num_own(self) -> int:
        """Samples of a step that are the domain's."""
        return max(1, round(self.share * self.batch_size))


@dataclass(frozen=True)
class Audit:
    """What came out.

    Attributes:
        settings: As asked for.
        metric: That the run's impact is measured in.
        domain_names: Of the axis k.
        task_names: Of the axis t.
        kernel_kt: By metric, what impact says.
        drop_rkt: What training does, in nats a token; negative where a loss rises.
    """

    settings: AuditSettings
    metric: Within
    domain_names: tuple[str, ...]
    task_names: tuple[str, ...]
    kernel_kt: Mapping[Within, Float64[np.ndarray, "k t"]]
    drop_rkt: Float64[np.ndarray, "r k t"]

    @property
    def ceiling(self) -> Agreement:
        """How well the two repeats agree: the most that an estimate can reach."""
        return agreement(self.drop_rkt[0], self.drop_rkt[1])

    def agreement(self, metric: Within) -> Agreement:
        """How well impact in a metric agrees with what training does."""
        return mean_agreement(*(agreement(self.kernel_kt[metric], each) for each in self.drop_rkt))

    def of_task(self, task: str) -> "Audit":
        """The part of one task."""
        column = [self.task_names.index(task)]
        return Audit(
            self.settings,
            self.metric,
            self.domain_names,
            (task,),
            {metric: kernel_kt[:, column] for metric, kernel_kt in self.kernel_kt.items()},
            self.drop_rkt[:, :, column],
        )

    def to_json(self) -> dict[str, Any]:
        """Everything by name, as plain JSON values."""
        drops = {
            domain: {
                task: self.drop_rkt[:, k, t].tolist() for t, task in enumerate(self.task_names)
            }
            for k, domain in enumerate(self.domain_names)
        }
        kernels = {
            metric: {
                domain: dict(zip(self.task_names, row, strict=True))
                for domain, row in zip(self.domain_names, kernel_kt.tolist(), strict=True)
            }
            for metric, kernel_kt in self.kernel_kt.items()
        }
        by_task = {task: self.of_task(task)._agreements() for task in self.task_names}
        return {
            "settings": asdict(self.settings),
            "metric": self.metric,
            "agreement": self._agreements(),
            "tasks": by_task,
            "kernels": kernels,
            "loss_drops": drops,
        }

    def _agreements(self) -> dict[str, dict[str, float]]:
        found = {str(metric): self.agreement(metric).to_json() for metric in self.kernel_kt}
        return {**found, "ceiling": self.ceiling.to_json()}


def audited(work: Workspace, settings: AuditSettings) -> Audit:
    """Train on every domain, or go on with it, and compare; ``audit/audit.json`` is written.

    Args:
        work: A run with domains, held by this process.
        settings: What to do.

    Raises:
        InputError: If there is nothing to start from, or too little to measure.
    """
    _refuse_too_little(settings)
    folder = starting_folder(work, settings.at)
    names = _trained_domains(work)
    checkpoint = starting_point(work, settings.at, folder)
    budget = _budget(work, settings)
    estimators = {metric: estimator(work, budget, metric) for metric in METRICS}
    kernels = {
        metric: _estimated(work, checkpoint, each, names) for metric, each in estimators.items()
    }
    used = next(iter(estimators.values())).task_samples(0)
    drop_rkt = _trained(work, checkpoint, settings, names, used, starting_key(folder))
    audit = Audit(
        settings,
        work.config.impact.metric,
        tuple(names),
        tuple(work.scored_tasks),
        kernels,
        drop_rkt,
    )
    write_json(work.path(FOLDER_NAME) / RESULT_NAME, audit.to_json())
    return audit


def _budget(work: Workspace, settings: AuditSettings) -> MeasuringBudget:
    """What the measurement audited takes; of the proxy's, what leaves items to audit it with."""
    in_a_round = every_round(work)
    if settings.at != "proxy":
        return in_a_round
    budget = before_training(work)
    size = min(len(work.task_dataset(task, "validation")) for task in work.scored_tasks)
    left = max(size - _REPEATS * settings.items, in_a_round.task_samples)
    return replace(budget, task_samples=min(budget.task_samples, left))


def _refuse_too_little(settings: AuditSettings) -> None:
    least = {"steps": 1, "batch_size": 1, "items": _LEAST_ITEMS}
    for name, number in least.items():
        if getattr(settings, name) < number:
            option = name.replace("_", "-")
            raise InputError(
                f"--{option} is {getattr(settings, name)}, but must be {number} or more."
            )
    if not 0.0 < settings.share <= 1.0:
        raise InputError(f"--share is {settings.share}, but must be above 0 and at most 1.")


def _trained_domains(work: Workspace) -> dict[str, np.ndarray]:
    """The scored samples of every domain that has any, by name."""
    if not work.scored_tasks:
        raise InputError(
            "tasks: no task has a completion, so there is no loss that a domain could lower; give "
            "one a completion or answer."
        )
    data = work.domain_data
    pairs = zip(data.names, work.dataset.scored(data.members), strict=True)
    named = {name: members for name, members in pairs if len(members) > 0}
    if len(named) < 2:
        raise InputError(
            f"{work.path('domains')}: an audit orders domains, and there are fewer than two."
        )
    return named


def _estimated(
    work: Workspace,
    checkpoint: Checkpoint,
    impact: ImpactEstimator,
    names: Mapping[str, np.ndarray],
) -> Float64[np.ndarray, "k t"]:
    """What impact says of these domains, with the samples that the run's own takes."""
    with work.progress.bar(f"impact ({impact.within})", 1.0) as advance:
        measured = impact.measure(checkpoint.model, checkpoint.optimizer, index=0)
        advance(1.0)
    rows = [measured.matrices.domain_names.index(name) for name in names]
    return np.asarray(measured.matrices.kernel_kt[rows])


def _trained(
    work: Workspace,
    checkpoint: Checkpoint,
    settings: AuditSettings,
    members: Mapping[str, np.ndarray],
    used: Mapping[str, np.ndarray],
    model_key: str,
) -> Float64[np.ndarray, "r k t"]:
    """What training does; domains that an earlier call has finished are not trained on again."""
    training = Samples(work.dataset, work.collate)
    tasks = [Samples(work.task_dataset(task, "validation"), work.collate) for task in used]
    items_by_task = [
        _items(name, task.size, used[name], settings.items, work.config.seed)
        for name, task in zip(used, tasks, strict=True)
    ]
    kept = _Effects(work.path(FOLDER_NAME) / _EFFECTS_NAME, _key(work, settings, model_key))
    with work.progress.bar("training on every domain", _REPEATS * len(members)) as advance:
        for repeat in range(_REPEATS):
            items = [halves[repeat] for halves in items_by_task]
            beside = _beside(work.config.seed, repeat, list(members.values()), settings)
            before_t = losses_after(checkpoint, training, beside, tasks, items)
            for number, (name, scored) in enumerate(members.items()):
                place = f"{repeat}/{name}"
                if place not in kept.drops:
                    drop_st = loss_drops(
                        checkpoint, training, scored, tasks, items, before_t,
                        num_steps=[settings.steps], batch_size=settings.num_own,
                        random=np.random.default_rng([work.config.seed, repeat, number]),
                        beside=beside,
                    )  # fmt: skip
                    kept.keep(place, drop_st[0].tolist())
                advance(1.0)
    return np.array(
        [[kept.drops[f"{repeat}/{name}"] for name in members] for repeat in range(_REPEATS)]
    )


def _beside(
    seed: int, repeat: int, members: Sequence[np.ndarray], settings: AuditSettings
) -> list[np.ndarray]:
    """What every step has besides the domain's samples: domains by chance, a sample of each."""
    num = settings.batch_size - settings.num_own
    if num == 0:
        return []
    random = np.random.default_rng([seed, repeat, _BESIDE_STREAM])
    return [
        np.array([random.choice(members[k]) for k in random.integers(len(members), size=num)])
        for _ in range(settings.steps)
    ]


def _items(task: str, size: int, used: np.ndarray, num: int, seed: int) -> list[np.ndarray]:
    """Validation items of each repeat: none of the other's, none that the estimate has seen."""
    order = np.random.default_rng([seed, _ITEMS_STREAM]).permutation(size)
    left = order[~np.isin(order, used)]
    num = min(num, len(left) // _REPEATS)
    if num < _LEAST_ITEMS:
        raise InputError(
            f"tasks.{task}.validation: an audit needs {_REPEATS * _LEAST_ITEMS} items besides the "
            f"{len(used)} that impact is measured on, but there are {size}; give more, or lower "
            "impact.task_samples."
        )
    return [left[repeat * num : (repeat + 1) * num] for repeat in range(_REPEATS)]


def _key(work: Workspace, settings: AuditSettings, model_key: str) -> str:
    return seal(
        {
            "model": model_key,
            "settings": asdict(settings),
            "seed": work.config.seed,
            "training": work.config.training,
            "grouping": work.domains.grouping,
            "tasks": work.scored_tasks,
            "sources": [store.key for store in work.source_stores],
        }
    )


class _Effects:
    """What was measured so far, in a file that is whole after every domain."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self.drops: dict[str, list[float]] = {}
        if path.exists():
            kept = read_json(path)
            if kept["key"] == key:
                self.drops = kept["drops"]

    def keep(self, place: str, drop_t: list[float]) -> None:
        """Add the loss drops of a domain in a repeat."""
        self.drops[place] = drop_t
        self._path.parent.mkdir(exist_ok=True)
        write_json(self._path, {"key": self._key, "drops": self.drops})
