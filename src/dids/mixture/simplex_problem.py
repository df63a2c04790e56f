"""The mixture whose own step comes closest to what every task asks for.

A mixture's step is the mixture of the domains' steps, so the sum over tasks of its distances to the
tasks' own steps is a convex quadratic function of the mixture. Scoring domains one by one cannot
see that two of them are copies, or that two are useless alone and good together; this can.

Axis letters: k domains, t tasks.
"""

import numpy as np
from jaxtyping import Float64

from dids.mixture.limits import MixtureLimits, weighted


def simplex_mixture(
    gram_tkk: Float64[np.ndarray, "t k k"],
    kernel_kt: Float64[np.ndarray, "k t"],
    target_norm_t: Float64[np.ndarray, " t"],
    task_weights_t: Float64[np.ndarray, " t"],
    limits: MixtureLimits,
    *,
    prior: Float64[np.ndarray, " k"] | None = None,
    prior_strength: float = 0.0,
    noise_tk: Float64[np.ndarray, "t k"] | None = None,
    sample_weight_k: Float64[np.ndarray, " k"] | None = None,
    free_length: bool = False,
) -> Float64[np.ndarray, " k"]:
    """Minimise the tasks' weighted remaining distances over mixtures within limits.

    ``sum_t w_t * (1/2 p' G_t p - K_t' p + 1/2 N_t) / (1/2 N_t)``: each task's distance is
    measured by its own, so that no task counts for more because its gradients are larger.

    Args:
        gram_tkk: G, inner products of the domains' steps in each task's metric; positive
            semi-definite.
        kernel_kt: K, inner products of the domains' steps with the task's own.
        target_norm_t: N, squared length of each task's own step. A task with none is left out.
        task_weights_t: Non-negative; only their ratios matter.
        limits: What every mixture keeps.
        prior: A positive mixture to stay near. None: no such wish.
        prior_strength: Weight of the chi-square divergence from the prior. The whole distance of
            all tasks weighs 1.
        noise_tk: Variance of the estimate of each domain's step, in each task's metric. A domain
            that was measured poorly is held to the prior by a spring of this strength: not enough
            evidence, keep the prior. None: the steps are taken for exact.

        sample_weight_k: How much a sample of each domain counts in the step that is taken: its
            scored tokens, where the trainer's loss is a mean over tokens. The problem is solved in
            shares of these, the answer is a mixture of samples. None: all samples count the same.
        free_length: Whether a mixture is judged at the best length of its step: how long a step is
            depends on the learning rate, of the mixture only where it goes. Of a fixed length,
            steps that are too long for the tasks are best made shorter by drawing from domains that
            do nothing at all.

    Returns:
        The best mixture. Copies of a domain share their weight.

    Raises:
        ValueError: If weights are negative or all zero, or the prior has a zero.

    Example:
        >>> steps = np.eye(2)
        >>> mixture = simplex_mixture(
        ...     steps[None], np.array([[0.75], [0.25]]), np.array([0.625]), np.ones(1),
        ...     MixtureLimits.with_floor(2, 0.0),
        ... )
        >>> mixture.round(6)
        array([0.75, 0.25])
    """
    weight_t = relative_weights(task_weights_t, target_norm_t)
    quadratic_kk = np.einsum("t,tkl->kl", weight_t, gram_tkk)
    linear_k = -kernel_kt @ weight_t
    given = prior
    if prior is not None:
        if not (prior > 0).all():
            raise ValueError("the prior must be positive for every domain, but it has a zero.")
        if sample_weight_k is not None:
            prior = weighted(prior, sample_weight_k)
        # A spring on every domain: 1/2 * spring * (p - prior)^2. Both kinds are left alone when a
        # domain is split in two equal halves.
        spring_k = prior_strength / prior
        if noise_tk is not None:
            spring_k = spring_k + weight_t @ noise_tk
        if free_length:
            away_kk = np.eye(len(prior)) - prior[:, None]  # what p has beyond its length of prior
            quadratic_kk = quadratic_kk + away_kk.T @ (spring_k[:, None] * away_kk)
        else:
            quadratic_kk = quadratic_kk + np.diag(spring_k)
            linear_k = linear_k - spring_k * prior
    symmetric_kk = (quadratic_kk + quadratic_kk.T) / 2
    if free_length:
        best = limits.best_direction(symmetric_kk, linear_k, sample_weight_k)
        if best is not None:
            return best
        if given is not None:  # nothing is better than no step: nothing is known against the prior
            return limits.project(given)
    return limits.minimiser(symmetric_kk, linear_k, sample_weight_k)


def relative_weights(
    task_weights_t: Float64[np.ndarray, " t"], target_norm_t: Float64[np.ndarray, " t"]
) -> Float64[np.ndarray, " t"]:
    """Weights summing to 1, divided by half of each task's own squared step."""
    if not (task_weights_t >= 0).all() or not np.isfinite(task_weights_t).all():
        raise ValueError(f"task weights must be zero or more, but they are {task_weights_t}.")
    total = float(task_weights_t.sum())
    if total == 0.0:
        raise ValueError("at least one task must have a weight above zero.")
    half_t = 0.5 * target_norm_t
    weight_t = np.zeros_like(half_t)
    np.divide(task_weights_t / total, half_t, out=weight_t, where=half_t > 0)
    return weight_t
