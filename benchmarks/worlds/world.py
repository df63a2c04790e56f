"""What a world is, and its training: exact steps on the mean gradient of a mixture.

Training has no noise, so that two outcomes differ by their mixtures alone. What a policy is shown
has: gradients of samples.

Axis letters: m mixtures that are trained beside each other, k domains, t tasks, p parameters, n
samples.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float64

from dids.mixture.saturation import marginal_value

UNLIMITED = 10**9
"""Samples of a domain that never repeats."""


class World(Protocol):
    """Domains to train on, tasks to be good at, and a model that starts somewhere."""

    @property
    def domain_names(self) -> tuple[str, ...]:
        """What each domain is."""

    @property
    def sizes_k(self) -> np.ndarray:
        """Samples of each domain."""

    @property
    def start_p(self) -> np.ndarray:
        """The parameters before training."""

    @property
    def step_p(self) -> np.ndarray:
        """Learning rate times the optimizer's preconditioner."""

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""

    def gradient(
        self, theta_mp: Float64[np.ndarray, "m p"], weight_mk: Float64[np.ndarray, "m k"]
    ) -> Float64[np.ndarray, "m p"]:
        """The weighted sum of the domains' mean gradients."""

    def task_losses(self, theta_mp: Float64[np.ndarray, "m p"]) -> Float64[np.ndarray, "m t"]:
        """Each task's loss in nats."""

    def domain_gradient_sample(
        self, theta_p: Float64[np.ndarray, " p"], domain: int, size: int, rng: np.random.Generator
    ) -> Float64[np.ndarray, " p"]:
        """Mean gradient of ``size`` samples of a domain, drawn at random."""

    def task_gradient_samples(
        self, theta_p: Float64[np.ndarray, " p"], task: int, size: int, rng: np.random.Generator
    ) -> Float64[np.ndarray, "n p"]:
        """Gradients of ``size`` samples of a task, one by one."""


@dataclass(frozen=True)
class Budget:
    """How long training takes.

    Attributes:
        num_rounds: Rounds; the mixture may change between them.
        steps: Steps of a round.
        batch: Samples of a step.
        task_samples: Samples of each task that every round's impact is measured on.
    """

    num_rounds: int = 25
    steps: int = 8
    batch: int = 32
    task_samples: int = 16

    @property
    def round_samples(self) -> int:
        """Samples of a round."""
        return self.steps * self.batch


def trained(
    world: World,
    budget: Budget,
    theta_mp: Float64[np.ndarray, "m p"],
    draws_mk: Float64[np.ndarray, "m k"],
    mixture_mk: Float64[np.ndarray, "m k"],
    num_steps: int,
) -> tuple[Float64[np.ndarray, "m p"], Float64[np.ndarray, "m k"]]:
    """Parameters and draws after some steps with a mixture.

    A domain's part of a step is worth what its repeats leave of it: `marginal_value`.
    """
    for _ in range(num_steps):
        repeats_mk = np.maximum(draws_mk / world.sizes_k - 1.0, 0.0)
        value_mk = marginal_value(repeats_mk.ravel()).reshape(repeats_mk.shape)
        weight_mk = mixture_mk * value_mk
        theta_mp = theta_mp - world.step_p * world.gradient(theta_mp, weight_mk)
        draws_mk = draws_mk + budget.batch * mixture_mk
    return theta_mp, draws_mk


def losses_of_fixed(
    world: World, budget: Budget, mixture_mk: Float64[np.ndarray, "m k"]
) -> Float64[np.ndarray, "m t"]:
    """Each task's loss at the end of a run, for every mixture that is held throughout."""
    start_mp = np.tile(world.start_p, (len(mixture_mk), 1))
    num_steps = budget.num_rounds * budget.steps
    theta_mp, _ = trained(world, budget, start_mp, np.zeros_like(mixture_mk), mixture_mk, num_steps)
    return world.task_losses(theta_mp)
