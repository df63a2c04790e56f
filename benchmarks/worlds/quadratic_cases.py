"""The quadratic worlds by name: three tasks, each at home in a block of the parameters.

A task's goal lies in its own block; elsewhere it looks a tenth as hard. A domain that matches a
task pulls to a multiple of its goal, its reach: one over it is the share of data that the task
needs, and together they need a little more than there is. Reaches and goals differ between tasks.
Curvatures differ by parameter and the optimizer's preconditioner is one over their root, as Adam's.
The last block is seen by no task.

Axis letters: k domains, t tasks, p parameters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.worlds.quadratic_world import QuadraticWorld
from benchmarks.worlds.world import UNLIMITED, World

_TASKS = 3
_BLOCK = 6
_LEAST_REACH, _MOST_REACH = 1.8, 3.6
_RATE = 0.015
_NOISE = 1.0


@dataclass(frozen=True)
class _Ground:
    """What the domains of one world are made of."""

    rng: np.random.Generator
    curvature_p: np.ndarray
    goal_tp: np.ndarray
    reach_t: np.ndarray

    @classmethod
    def of(cls, seed: int) -> "_Ground":
        rng = np.random.default_rng([seed, 1])
        num_parameters = (_TASKS + 1) * _BLOCK
        goal_tp = np.zeros((_TASKS, num_parameters))
        for task in range(_TASKS):
            way = rng.normal(size=_BLOCK)
            size = rng.uniform(1.5, 3.0)
            goal_tp[task, task * _BLOCK : (task + 1) * _BLOCK] = size * way / np.linalg.norm(way)
        reach_t = rng.uniform(_LEAST_REACH, _MOST_REACH, _TASKS)
        return cls(rng, rng.lognormal(0.0, 0.4, num_parameters), goal_tp, reach_t)

    def near(self, task: int, factor: float = 1.0) -> np.ndarray:
        """Minimum of a domain that matches a task, but not quite."""
        goal_p = self.goal_tp[task] + 0.1 * self.goal_tp[(task + 1) % _TASKS]
        return np.asarray(factor * self.reach_t[task] * goal_p + self.somewhere(0.5))

    def somewhere(self, size: float) -> np.ndarray:
        """A random minimum."""
        way_p = self.rng.normal(size=self.goal_tp.shape[1])
        return np.asarray(size * way_p / np.linalg.norm(way_p))

    def unseen(self) -> np.ndarray:
        """Minimum of a domain that says nothing of any task."""
        way_p = np.zeros(self.goal_tp.shape[1])
        way_p[-_BLOCK:] = self.rng.normal(size=_BLOCK)
        return way_p

    def world(
        self,
        minimum_by_domain: Sequence[tuple[str, np.ndarray]],
        *,
        sizes: Sequence[int] | None = None,
        noise: float = _NOISE,
    ) -> QuadraticWorld:
        """Domains with these minima and tasks as they are."""
        minimum_kp = np.stack([minimum_p for _, minimum_p in minimum_by_domain])
        looks_tp = np.full_like(self.goal_tp, 0.1)
        for task in range(_TASKS):
            looks_tp[task, task * _BLOCK : (task + 1) * _BLOCK] = 1.0
        looks_tp[:, -_BLOCK:] = 0.01
        curvature_kp = np.tile(self.curvature_p, (len(minimum_kp), 1))
        return QuadraticWorld(
            domain_names=tuple(name for name, _ in minimum_by_domain),
            sizes_k=np.array([UNLIMITED] * len(minimum_kp) if sizes is None else sizes),
            start_p=np.zeros(len(self.curvature_p)),
            step_p=_RATE / np.sqrt(self.curvature_p),
            curvature_kp=curvature_kp,
            force_kp=curvature_kp * minimum_kp,
            task_curvature_tp=looks_tp * self.curvature_p,
            goal_tp=self.goal_tp,
            noise=noise,
        )


def matched(seed: int, noise: float = _NOISE) -> World:
    """A domain for each task, and three that lie anywhere."""
    ground = _Ground.of(seed)
    return ground.world([*_matching(ground), *_stray(ground, 3)], noise=noise)


def duplicated(seed: int) -> World:
    """The first task's domain is there four times."""
    ground = _Ground.of(seed)
    matching = _matching(ground)
    copies = [(f"copy {number}", matching[0][1]) for number in range(3)]
    return ground.world([*matching, *copies])


def useless(seed: int) -> World:
    """Half of the domains say nothing of any task."""
    ground = _Ground.of(seed)
    nothing = [(f"useless {number}", ground.unseen()) for number in range(4)]
    return ground.world([*_matching(ground), *nothing])


def harmful(seed: int) -> World:
    """Two domains pull away from a task's goal."""
    ground = _Ground.of(seed)
    harm = [(f"harmful {task}", -ground.near(task, 0.6)) for task in range(2)]
    return ground.world([*_matching(ground), *harm])


def complementary(seed: int) -> World:
    """Each of two domains goes wrong by as much as the other one mends."""
    ground = _Ground.of(seed)
    return ground.world([*_halves(ground), *_matching(ground)[1:], *_stray(ground, 1)])


def scarce(seed: int) -> World:
    """The first task's domain is small; of another one, nearly as good, there is enough."""
    ground = _Ground.of(seed)
    second = ground.near(0, 0.6)
    domains = [*_matching(ground), ("second best", second), *_stray(ground, 1)]
    return ground.world(domains, sizes=[60, *[UNLIMITED] * 4])


def everything(seed: int) -> World:
    """All of them at once."""
    ground = _Ground.of(seed)
    matching = _matching(ground)
    domains = [
        *_halves(ground),
        *matching[1:],
        ("copy 0", matching[1][1]),
        ("useless 0", ground.unseen()),
        ("useless 1", ground.unseen()),
        ("harmful 0", -ground.near(1, 0.6)),
        *_stray(ground, 1),
    ]
    sizes = [UNLIMITED] * len(domains)
    sizes[3] = 60
    return ground.world(domains, sizes=sizes)


def _matching(ground: _Ground) -> list[tuple[str, np.ndarray]]:
    return [(f"for task {task}", ground.near(task)) for task in range(_TASKS)]


def _stray(ground: _Ground, number: int) -> list[tuple[str, np.ndarray]]:
    return [(f"stray {index}", ground.somewhere(2.0)) for index in range(number)]


def _halves(ground: _Ground) -> list[tuple[str, np.ndarray]]:
    aside_p = np.zeros(ground.goal_tp.shape[1])
    aside_p[:_BLOCK] = ground.rng.normal(size=_BLOCK)
    aside_p *= 2.0 * ground.reach_t[0] / np.linalg.norm(aside_p)
    middle_p = ground.near(0)
    return [("half", middle_p + aside_p), ("other half", middle_p - aside_p)]


QUADRATIC: dict[str, Callable[[int], World]] = {
    "matched": matched,
    "duplicated": duplicated,
    "useless": useless,
    "harmful": harmful,
    "complementary": complementary,
    "scarce": scarce,
    "noise × 0": lambda seed: matched(seed, 0.01),
    "noise × 4": lambda seed: matched(seed, 4.0),
    "everything": everything,
}
