"""The worlds of classes by name: three tasks, each to tell three classes of its own apart.

A class is a cloud of points; all clouds lie in one space, so that every class stands in others'
way. A domain that matches a task has the task's classes.
Two more classes are no task's.

Axis letters: c classes, d features, n samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.worlds.softmax_world import Pools, SoftmaxWorld
from benchmarks.worlds.world import UNLIMITED, World

_TASKS = 3
_CLASSES_OF_A_TASK = 3
_CLASSES = _TASKS * _CLASSES_OF_A_TASK + 2
_FEATURES = 8
_SAMPLES = 36
_RATE = 0.25
_SPREAD = 0.5

Cloud = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Ground:
    """What the pools of one world are drawn from."""

    rng: np.random.Generator
    centre_cd: np.ndarray
    noise: float

    @classmethod
    def of(cls, seed: int, noise: float = _SPREAD) -> "_Ground":
        rng = np.random.default_rng([seed, 2])
        return cls(rng, rng.normal(size=(_CLASSES, _FEATURES)), noise)

    def cloud(self, classes: Sequence[int], labels: Sequence[int] | None = None) -> Cloud:
        """Points of these classes in turn, under these labels (their own, if none are given)."""
        labels = classes if labels is None else labels
        class_n = np.resize(np.asarray(classes), _SAMPLES)
        label_n = np.resize(np.asarray(labels), _SAMPLES)
        point_nd = self.centre_cd[class_n]
        point_nd = point_nd + self.noise * self.rng.normal(size=point_nd.shape)
        feature_nd = np.concatenate([point_nd, np.ones((_SAMPLES, 1))], axis=1)
        return feature_nd, np.eye(_CLASSES)[label_n]

    def world(
        self, cloud_by_domain: Sequence[tuple[str, Cloud]], sizes: Sequence[int] | None = None
    ) -> SoftmaxWorld:
        """Domains of these clouds, and tasks of new points of theirs."""
        number = len(cloud_by_domain)
        return SoftmaxWorld(
            domain_names=tuple(name for name, _ in cloud_by_domain),
            sizes_k=np.array([UNLIMITED] * number if sizes is None else sizes),
            step_p=np.full(_CLASSES * (_FEATURES + 1), _RATE),
            domains=_pools([cloud for _, cloud in cloud_by_domain]),
            tasks=_pools([self.cloud(classes_of(task)) for task in range(_TASKS)]),
        )


def classes_of(task: int) -> list[int]:
    """The classes of a task."""
    return list(range(task * _CLASSES_OF_A_TASK, (task + 1) * _CLASSES_OF_A_TASK))


def matched(seed: int, noise: float = _SPREAD) -> World:
    """A domain for each task, and three of a class from here and one from there."""
    ground = _Ground.of(seed, noise)
    return ground.world([*_matching(ground), *_stray(ground, 3)])


def duplicated(seed: int) -> World:
    """The first task's domain is there four times."""
    ground = _Ground.of(seed)
    matching = _matching(ground)
    return ground.world([*matching, *((f"copy {copy}", matching[0][1]) for copy in range(3))])


def useless(seed: int) -> World:
    """Half of the domains are of classes that no task has."""
    ground = _Ground.of(seed)
    return ground.world([*_matching(ground), *_useless(ground, 4)])


def harmful(seed: int) -> World:
    """Two domains name a task's classes wrongly."""
    ground = _Ground.of(seed)
    return ground.world([*_matching(ground), *(_harmful(ground, task) for task in range(2))])


def complementary(seed: int) -> World:
    """Of the first task's classes one domain has two, another one the third."""
    ground = _Ground.of(seed)
    return ground.world([*_parts(ground), *_matching(ground)[1:], *_stray(ground, 1)])


def scarce(seed: int) -> World:
    """The first task's domain is small; of another one a third has the wrong label."""
    ground = _Ground.of(seed)
    domains = [*_matching(ground), ("second best", _second(ground)), *_stray(ground, 1)]
    return ground.world(domains, sizes=[60, *[UNLIMITED] * 4])


def everything(seed: int) -> World:
    """All of them at once."""
    ground = _Ground.of(seed)
    matching = _matching(ground)
    domains = [
        *_parts(ground),
        *matching[1:],
        ("copy 0", matching[1][1]),
        *_useless(ground, 2),
        _harmful(ground, 1),
        *_stray(ground, 1),
    ]
    sizes = [UNLIMITED] * len(domains)
    sizes[3] = 60
    return ground.world(domains, sizes)


def _matching(ground: _Ground) -> list[tuple[str, Cloud]]:
    return [(f"for task {task}", ground.cloud(classes_of(task))) for task in range(_TASKS)]


def _stray(ground: _Ground, number: int) -> list[tuple[str, Cloud]]:
    return [
        (f"stray {index}", ground.cloud(ground.rng.choice(_CLASSES, 2, replace=False).tolist()))
        for index in range(number)
    ]


def _useless(ground: _Ground, number: int) -> list[tuple[str, Cloud]]:
    return [(f"useless {n}", ground.cloud([_CLASSES - 2, _CLASSES - 1])) for n in range(number)]


def _harmful(ground: _Ground, task: int) -> tuple[str, Cloud]:
    classes = classes_of(task)
    return f"harmful {task}", ground.cloud(classes, classes[1:] + classes[:1])


def _parts(ground: _Ground) -> list[tuple[str, Cloud]]:
    first, second, third = classes_of(0)
    return [("two classes", ground.cloud([first, second])), ("the third", ground.cloud([third]))]


def _second(ground: _Ground) -> Cloud:
    feature_nd, label_nc = ground.cloud(classes_of(0))
    wrong_nc = np.roll(label_nc, 1, axis=0)
    return feature_nd, (2.0 * label_nc + wrong_nc) / 3.0


def _pools(clouds: Sequence[Cloud]) -> Pools:
    return Pools(*(np.stack(arrays) for arrays in zip(*clouds, strict=True)))


SOFTMAX: dict[str, Callable[[int], World]] = {
    "matched": matched,
    "duplicated": duplicated,
    "useless": useless,
    "harmful": harmful,
    "complementary": complementary,
    "scarce": scarce,
    "spread × 0.2": lambda seed: matched(seed, 0.1),
    "spread × 2": lambda seed: matched(seed, 1.0),
    "everything": everything,
}
