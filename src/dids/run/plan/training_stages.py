"""Proxy, training and control: some steps in three rounds, carried on step by step."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dids.atomic import read_json
from dids.config import Config, sharding
from dids.impact.measuring_budget import MeasuringBudget
from dids.run.measuring import round_budget
from dids.run.plan.calibration import Calibration, Rehearsed
from dids.run.plan.estimate import Known, StageEstimate
from dids.run.plan.pace import Pace
from dids.run.plan.processes import without_shards_of_others
from dids.run.stages import STAGES

TRAINING_S = 4.0
"""Seconds of each training, about."""
_PILOT_STEPS = 6
ROUNDS = 3
"""Two of them end within the run: so many checkpoints are kept."""
_NO_SHARE = 1e9


@dataclass(frozen=True)
class Paced:
    """A training's pace, and how it was seen.

    Attributes:
        pace: Of a process.
        took: The longer training.
        tokens_a_step: Of all processes together.
    """

    pace: Pace
    took: Rehearsed
    tokens_a_step: float


def proxy(here: Calibration) -> StageEstimate:
    """By steps of the warm-up, where there is one."""
    steps = here.config.warmup_steps
    if steps == 0:
        took = here.rehearsed("proxy", lambda: STAGES["proxy"](here.work))
        return here.estimate(
            "proxy",
            took,
            Known(took.time_s, True),
            Known(took.disk_bytes, True),
            "saved as in the run",
        )

    def warmed_up(config: Config, num_steps: int) -> Config:
        update = {"warmup_steps": num_steps}
        return config.model_copy(update={"proxy": config.proxy.model_copy(update=update)})

    found = paced(_trained(here, "proxy", 1, warmed_up), steps)
    return here.estimate(
        "proxy",
        found.took,
        Known(found.pace.time_s(steps, 1), found.pace.num_steps == steps),
        Known(found.took.disk_bytes, True),
        f"{found.pace.num_steps:,} of {steps:,} steps",
    )


def training(here: Calibration, stage: str) -> tuple[StageEstimate, Paced]:
    """The run or its control, by steps and rounds.

    Args:
        here: The calibration.
        stage: ``train`` or ``control``.
    """
    assert here.counts is not None
    measuring, whole = measuring_budget(here), here.config.budget.tokens
    shared = measuring.shared_by(here.num_processes)
    num_rounds = min(ROUNDS, here.config.mixture.rounds)

    def of_length(config: Config, num_steps: int) -> Config:
        return shortened(here, _measuring(config, shared), num_steps, num_rounds)

    found = paced(_trained(here, stage, num_rounds, of_length), here.counts.num_steps)
    steps = whole / found.tokens_a_step
    rounds = 1 + measuring.num_measurements(here.config.mixture.rounds)
    estimate = here.estimate(
        stage,
        found.took,
        Known(found.pace.time_s(steps, rounds), is_measured=False),
        Known(found.took.disk_bytes, is_measured=True),
        f"{found.pace.num_steps:,} of about {steps:,.0f} steps, {num_rounds} of "
        f"{here.config.mixture.rounds} rounds",
    )
    if here.num_processes > 1 and sharding.shards(here.config.training):
        left = without_shards_of_others(found.took, here.work.path(stage), here.num_processes)
        estimate = replace(estimate, device_bytes=Known(left.device_bytes, is_measured=False))
    return estimate, found


def shortened(here: Calibration, config: Config, num_steps: int, num_rounds: int) -> Config:
    """A config with a budget of about so many steps, never more than the whole run's.

    Where several processes will train, its steps are one's share of theirs.

    A policy that looks at features of the domains' samples finds none in the small run: they are
    computed, which is a little more than reading them.
    """
    assert here.counts is not None
    mean_length = here.num_tokens / max(1, here.num_samples)
    share = here.counts.batch_size // here.num_processes
    tokens = round(num_steps * share * mean_length)
    tokens = max(1, min(here.config.budget.tokens, tokens))
    budget = {"tokens": tokens, "batch_size": share}
    return config.model_copy(
        update={
            "budget": config.budget.model_copy(update=budget),
            "mixture": config.mixture.model_copy(update={"rounds": num_rounds}),
            "domains": config.domains.model_copy(update={"number": "sources"}),
        }
    )


def run_and_control(here: Calibration) -> Iterator[StageEstimate | None]:
    """The run, then its control; None where there is none."""
    estimate, train = training(here, "train")
    if here.config.control is None:
        yield estimate
        yield None
        return
    controls, control = training(here, "control")
    yield _less_collecting(estimate, here, train, control)
    yield controls


def _less_collecting(
    estimate: StageEstimate, here: Calibration, train: Paced, control: Paced
) -> StageEstimate:
    """The run's estimate where only some of its steps give their gradients by domain."""
    unseen = 1.0 - measuring_budget(here).collected_share(here.config.mixture.rounds)
    steps = here.config.budget.tokens / train.tokens_a_step
    saved_s = unseen * steps * max(0.0, train.pace.step_s - control.pace.step_s)
    return replace(estimate, time_s=Known(estimate.time_s.value - saved_s, is_measured=False))


def measuring_budget(here: Calibration) -> MeasuringBudget:
    """What a measurement takes in the whole run's training."""
    assert here.counts is not None
    if here.config.impact.overhead is None:
        return here.counts.measuring
    num_parameters = here.work.new_model(here.config.model).num_parameters()
    return round_budget(replace(here.work, config=with_budget(here)), num_parameters)


def with_measuring(here: Calibration) -> Config:
    """The small config with the samples that the whole run's measurement before training takes."""
    assert here.counts is not None
    return _measuring(here.work.config, here.counts.on_proxy)


def _measuring(config: Config, budget: MeasuringBudget) -> Config:
    """Short rounds would allow fewer samples; so the limit goes, and the numbers are given."""
    impact = config.impact.model_copy(
        update={
            "domain_samples": max(2, budget.domain_samples),
            "task_samples": budget.task_samples,
            "proxy_domain_samples": max(2, budget.domain_samples),
            "proxy_task_samples": budget.task_samples,
            "validation_samples": budget.validation_samples,
            "max_share": _NO_SHARE,
            "overhead": None,
        }
    )
    return config.model_copy(update={"impact": impact})


def with_budget(here: Calibration) -> Config:
    """The small config with the whole run's length."""
    whole = here.config
    return here.work.config.model_copy(update={"budget": whole.budget, "mixture": whole.mixture})


def paced(train: Callable[[int], Paced], whole_steps: int) -> Paced:
    """Train a few steps, then as many as fit into the time; what the longer training took.

    Args:
        train: Trains so many steps.
        whole_steps: Of the whole run: never more.
    """
    found = train(min(_PILOT_STEPS, whole_steps))
    fitting = round(TRAINING_S / max(found.pace.step_s, 1e-6))
    if fitting > 2 * _PILOT_STEPS and whole_steps > _PILOT_STEPS:
        found = train(min(fitting, whole_steps))
    return found


def seen(
    here: Calibration,
    stage: str,
    folder: Path,
    num_rounds: int,
    do: Callable[[], Mapping[str, Any] | None],
) -> Paced:
    """Do a training and read its pace off the first bar that it shows.

    Args:
        here: The calibration.
        stage: That it belongs to.
        folder: Of the training; what was there is removed.
        num_rounds: Of the training.
        do: Trains.
    """
    shutil.rmtree(folder, ignore_errors=True)
    took = here.rehearsed(stage, do)
    drawn = read_json(folder / "drawn.json")
    tokens_a_step = here.num_processes * drawn["tokens"] / drawn["steps"]
    return Paced(Pace.of(took.bars[0], num_rounds, took.time_s), took, tokens_a_step)


def _trained(
    here: Calibration, stage: str, num_rounds: int, of_length: Callable[[Config, int], Config]
) -> Callable[[int], Paced]:
    def train(num_steps: int) -> Paced:
        work = replace(here.work, config=of_length(here.work.config, num_steps))
        folder = here.work.path(stage)
        return seen(here, stage, folder, num_rounds, lambda: STAGES[stage](work))

    return train
