"""How a policy did in a world, between uniform and the best fixed mixture.

Axis letters: k domains, t tasks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.worlds.best_mixture import best_mixture
from benchmarks.worlds.policy_run import Metric, PolicyRun, policy_run
from benchmarks.worlds.world import Budget, World, losses_of_fixed
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import make_policy

FLOOR = 0.25
"""Least share of a domain, of its uniform share: the package's default."""


@dataclass(frozen=True)
class Contender:
    """A policy with the metric that its impact is measured in."""

    policy: str
    metric: Metric = "fisher"

    @property
    def label(self) -> str:
        """As the table's head has it."""
        return self.policy if self.metric == "fisher" else f"{self.policy}, {self.metric} metric"


CONTENDERS = (
    Contender("dids"),
    Contender("dids-joint"),
    Contender("dids-paper"),
    Contender("dids-descent"),
    Contender("dids", "plain"),
    Contender("dids-descent", "plain"),
)


@dataclass(frozen=True)
class Yardstick:
    """What a world's outcomes are measured by.

    Attributes:
        world: The world.
        limits: What every mixture keeps.
        best_k: The best fixed mixture within the limits.
        uniform_t: Each task's loss under uniform.
        best_t: Each task's loss under the best fixed mixture.
        unlimited: Gap closed by the best fixed mixture of all, beyond the limits; 1 where they cost
            nothing.
    """

    world: World
    limits: MixtureLimits
    best_k: np.ndarray
    uniform_t: np.ndarray
    best_t: np.ndarray
    unlimited: float

    @classmethod
    def of(cls, world: World, budget: Budget) -> "Yardstick":
        """The best mixtures with and without floors, and uniform."""
        number = len(world.domain_names)
        limits = MixtureLimits.with_floor(number, FLOOR)
        best_k = best_mixture(world, budget, limits)
        free_k = best_mixture(world, budget, MixtureLimits.with_floor(number, 0.0))
        mixture_mk = np.stack([np.full(number, 1.0 / number), best_k, free_k])
        uniform_t, best_t, free_t = losses_of_fixed(world, budget, mixture_mk)
        gap = uniform_t.mean() - best_t.mean()
        unlimited = float((uniform_t.mean() - free_t.mean()) / gap)
        return cls(world, limits, best_k, uniform_t, best_t, unlimited)

    def gap_closed(self, losses_t: np.ndarray) -> float:
        """1 is as good as the best fixed mixture within the limits, 0 is uniform."""
        gap = self.uniform_t.mean() - self.best_t.mean()
        return float((self.uniform_t.mean() - losses_t.mean()) / gap)

    def above_best(self, losses_t: np.ndarray) -> float:
        """How far the mean loss is above the best fixed mixture's, in parts of it."""
        return float(losses_t.mean() / self.best_t.mean() - 1.0)

    def worst_gain(self, losses_t: np.ndarray) -> float:
        """Of the tasks the least fall of the loss below uniform's, in nats."""
        return float((self.uniform_t - losses_t).min())


@dataclass(frozen=True)
class Outcome:
    """One run of a policy.

    Attributes:
        gap_closed: From 0, uniform, to 1, the best fixed mixture within the limits.
        above_best: How far the mean task loss is above that of the best fixed mixture, in parts of
            it; negative is below.
        worst_gain: Of the tasks the least fall below uniform's loss, in nats.
    """

    gap_closed: float
    above_best: float
    worst_gain: float


def outcome(yardstick: Yardstick, run: PolicyRun) -> Outcome:
    """How a run did."""
    return Outcome(
        yardstick.gap_closed(run.losses_t),
        yardstick.above_best(run.losses_t),
        yardstick.worst_gain(run.losses_t),
    )


@dataclass(frozen=True)
class WorldRow:
    """All outcomes in one world, one number a seed."""

    name: str
    unlimited: list[float]
    uniform_above_best: list[float]
    best_worst_gain: list[float]
    outcomes: dict[str, list[Outcome]]


def world_row(
    name: str, make: Callable[[int], World], contenders: tuple[Contender, ...], budget: Budget,
    num_seeds: int,
) -> WorldRow:  # fmt: skip
    """Every contender in a world, on every seed."""
    row = WorldRow(name, [], [], [], {contender.label: [] for contender in contenders})
    for seed in range(num_seeds):
        yardstick = Yardstick.of(make(seed), budget)
        row.unlimited.append(yardstick.unlimited)
        row.uniform_above_best.append(yardstick.above_best(yardstick.uniform_t))
        row.best_worst_gain.append(yardstick.worst_gain(yardstick.best_t))
        for contender in contenders:
            run = policy_run(
                yardstick.world,
                budget,
                make_policy(contender.policy),
                yardstick.limits,
                seed,
                contender.metric,
            )
            row.outcomes[contender.label].append(outcome(yardstick, run))
    return row
