"""Quadratic tasks: every domain pulls the parameters to a place of its own.

Domain k's mean gradient is ``a_k * theta - f_k`` (a curvature and a force for every parameter; its
minimum is ``f_k / a_k``, and without curvature it pulls the same way for ever). Task t's loss is
``1/2 sum_p b_tp (theta_p - goal_tp)^2 + 1``: the negative log-likelihood of samples around the goal
with variance ``1 / b_tp``, whose gradients scatter by ``sqrt(b_tp)``. So the Fisher information is
the curvature plus the square of the mean gradient, as in a model that fits.

Axis letters: m mixtures, k domains, t tasks, p parameters, n samples.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class QuadraticWorld:
    """A world of quadratic losses.

    Attributes:
        domain_names: What each domain is.
        sizes_k: Samples of each domain.
        start_p: The parameters before training.
        step_p: Learning rate times the optimizer's preconditioner.
        curvature_kp: a, of the domains.
        force_kp: f, of the domains.
        task_curvature_tp: b, of the tasks.
        goal_tp: Where each task's loss is lowest.
        noise: Standard deviation of one sample's gradient, in units of the curvature's root.
    """

    domain_names: tuple[str, ...]
    sizes_k: np.ndarray
    start_p: np.ndarray
    step_p: np.ndarray
    curvature_kp: np.ndarray
    force_kp: np.ndarray
    task_curvature_tp: np.ndarray
    goal_tp: np.ndarray
    noise: float

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.goal_tp)

    def gradient(
        self, theta_mp: Float64[np.ndarray, "m p"], weight_mk: Float64[np.ndarray, "m k"]
    ) -> Float64[np.ndarray, "m p"]:
        """The weighted sum of the domains' mean gradients."""
        pull_mp = weight_mk @ self.force_kp
        return np.asarray((weight_mk @ self.curvature_kp) * theta_mp - pull_mp)

    def task_losses(self, theta_mp: Float64[np.ndarray, "m p"]) -> Float64[np.ndarray, "m t"]:
        """Each task's loss in nats."""
        away_mtp = theta_mp[:, None, :] - self.goal_tp
        return np.asarray(0.5 * (self.task_curvature_tp * away_mtp**2).sum(axis=2) + 1.0)

    def domain_gradient_sample(
        self, theta_p: Float64[np.ndarray, " p"], domain: int, size: int, rng: np.random.Generator
    ) -> Float64[np.ndarray, " p"]:
        """Mean gradient of ``size`` samples of a domain."""
        mean_p = self.curvature_kp[domain] * theta_p - self.force_kp[domain]
        scatter_p = self.noise * np.sqrt(self.task_curvature_tp.max(axis=0) / size)
        return np.asarray(mean_p + scatter_p * rng.normal(size=len(theta_p)))

    def task_gradient_samples(
        self, theta_p: Float64[np.ndarray, " p"], task: int, size: int, rng: np.random.Generator
    ) -> Float64[np.ndarray, "n p"]:
        """Gradients of ``size`` samples of a task, one by one."""
        curvature_p = self.task_curvature_tp[task]
        mean_p = curvature_p * (theta_p - self.goal_tp[task])
        scatter_np = self.noise * np.sqrt(curvature_p) * rng.normal(size=(size, len(theta_p)))
        return np.asarray(mean_p + scatter_np)
