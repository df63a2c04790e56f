"""The best fixed mixture of a world, known in hindsight.

Where all domains of a quadratic world have one curvature and none repeats, the parameters at the
end are an affine function of the mixture, and the tasks' losses a convex quadratic one: solved
exactly. Elsewhere a search, held against the exact solution by the tests.

Axis letters: m mixtures, k domains, t tasks, p parameters.
"""

import numpy as np
from jaxtyping import Float64
from scipy.optimize import Bounds, LinearConstraint, minimize

from benchmarks.worlds.quadratic_world import QuadraticWorld
from benchmarks.worlds.world import Budget, World, losses_of_fixed
from dids.mixture.limits import MixtureLimits

_STEP = 1e-6


def best_mixture(world: World, budget: Budget, limits: MixtureLimits) -> Float64[np.ndarray, " k"]:
    """The mixture within limits whose mean task loss at the end is lowest."""
    if isinstance(world, QuadraticWorld) and is_affine(world, budget):
        return solved_mixture(world, budget, limits)
    return searched_mixture(world, budget, limits)


def is_affine(world: QuadraticWorld, budget: Budget) -> bool:
    """Whether the end of training is an affine function of the mixture."""
    has_one_curvature = bool((world.curvature_kp == world.curvature_kp[0]).all())
    never_repeats = world.sizes_k.min() >= budget.num_rounds * budget.round_samples
    return has_one_curvature and bool(never_repeats)


def solved_mixture(
    world: QuadraticWorld, budget: Budget, limits: MixtureLimits
) -> Float64[np.ndarray, " k"]:
    """The convex problem: ``theta = left * start + (1 - left) * sum_k p_k f_k / a``.

    A step multiplies the way to where the mixture pulls by ``1 - step * a``; ``left`` is that to
    the power of the number of steps.
    """
    curvature_p = world.curvature_kp[0]
    num_steps = budget.num_rounds * budget.steps
    left_p = (1.0 - world.step_p * curvature_p) ** num_steps
    reach_kp = (1.0 - left_p) * world.force_kp / curvature_p
    quadratic_kk = np.zeros((len(reach_kp), len(reach_kp)))
    linear_k = np.zeros(len(reach_kp))
    for metric_p, goal_p in zip(world.task_curvature_tp, world.goal_tp, strict=True):
        quadratic_kk += (reach_kp * metric_p) @ reach_kp.T
        linear_k -= (reach_kp * metric_p) @ (goal_p - left_p * world.start_p)
    return limits.minimiser(quadratic_kk, linear_k)


def searched_mixture(
    world: World, budget: Budget, limits: MixtureLimits
) -> Float64[np.ndarray, " k"]:
    """Sequential quadratic programming from uniform, with slopes from trials side by side."""

    def loss_and_slope(mixture_k: np.ndarray) -> tuple[float, np.ndarray]:
        beside_mk = np.vstack([mixture_k, mixture_k + _STEP * np.eye(len(mixture_k))])
        loss_m = losses_of_fixed(world, budget, beside_mk).mean(axis=1)
        return float(loss_m[0]), np.asarray((loss_m[1:] - loss_m[0]) / _STEP)

    found = minimize(
        loss_and_slope,
        np.full(limits.num_domains, 1.0 / limits.num_domains),
        jac=True,
        method="SLSQP",
        bounds=Bounds(limits.lower_k, limits.upper_k),
        constraints=LinearConstraint(np.ones((1, limits.num_domains)), 1.0, 1.0),
        options={"ftol": 1e-8, "maxiter": 100},
    )
    inside_k = np.clip(found.x, limits.lower_k, limits.upper_k)
    return limits.project(np.asarray(inside_k / inside_k.sum()))
