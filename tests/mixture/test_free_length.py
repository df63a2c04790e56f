"""The step's length is the learning rate's affair: of a mixture only its direction is judged."""

import numpy as np
import pytest

from dids.mixture.limits import MixtureLimits, weighted
from dids.mixture.simplex_problem import simplex_mixture


def problem_of(seed, num_domains=4, num_tasks=3, num_parameters=6):
    rng = np.random.default_rng(seed)
    update = rng.normal(size=(num_domains, num_parameters))
    target = rng.normal(size=(num_tasks, num_parameters)) + 0.5 * update[0]
    fisher = rng.uniform(0.1, 2.0, size=(num_tasks, num_parameters))
    return update, target, fisher, rng


def matrices_of(update, target, fisher):
    return (
        np.einsum("tp,kp,lp->tkl", fisher, update, update),
        np.einsum("tp,kp,tp->kt", fisher, update, target),
        np.einsum("tp,tp,tp->t", fisher, target, target),
    )


def slow_distance(share, update, target, fisher):
    """The tasks' relative distances at the best of many lengths of the step."""
    lengths = np.linspace(0.0, 20.0, 40_001)
    total = np.zeros_like(lengths)
    for h, f in zip(target, fisher, strict=True):
        step = share @ update
        own, pull, norm = (f * step * step).sum(), (f * step * h).sum(), (f * h * h).sum()
        total += (0.5 * lengths**2 * own - lengths * pull + 0.5 * norm) / (0.5 * norm)
    return float(total.min())


@pytest.mark.parametrize("seed", range(5))
def test_no_other_mixture_comes_nearer_at_its_own_best_length(seed):
    update, target, fisher, rng = problem_of(seed)
    weight = rng.uniform(5.0, 100.0, size=4)
    limits = MixtureLimits(
        np.full(4, 0.05),
        np.array([1.0, 0.5, 0.6, 1.0]),
        np.array([[1.0, 1.0, 0.0, 0.0]]),
        np.array([0.2]),
        np.array([0.7]),
    )
    mixture = simplex_mixture(
        *matrices_of(update, target, fisher),
        np.ones(3),
        limits,
        sample_weight_k=weight,
        free_length=True,
    )
    assert limits.allows(mixture)
    found = slow_distance(weighted(mixture, weight), update, target, fisher)
    tried = 0.05 + 0.8 * rng.dirichlet(np.ones(4), 400)
    tried = np.array([limits.project(other) for other in tried])
    best = min(slow_distance(weighted(other, weight), update, target, fisher) for other in tried)
    assert found <= best + 1e-6


@pytest.mark.parametrize("factor", [0.01, 1.0, 100.0])
def test_steps_many_times_too_short_or_long_give_the_same_mixture(factor):
    update, target, fisher, _ = problem_of(1)
    limits = MixtureLimits.with_floor(4, 0.2)
    expected = simplex_mixture(
        *matrices_of(update, target, fisher), np.ones(3), limits, free_length=True
    )
    found = simplex_mixture(
        *matrices_of(factor * update, target, fisher), np.ones(3), limits, free_length=True
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_harmless_domain_is_no_place_to_put_weight():
    # Steps too long for the task: of fixed length, the best mixture rests in the domain that does
    # nothing; of free length it gets its floor.
    gram_tkk = np.diag([4.0, 0.01])[None]
    kernel_kt, norm_t = np.array([[0.4], [0.0]]), np.array([1.0])
    limits = MixtureLimits.with_floor(2, 0.2)
    resting = simplex_mixture(gram_tkk, kernel_kt, norm_t, np.ones(1), limits)
    moving = simplex_mixture(gram_tkk, kernel_kt, norm_t, np.ones(1), limits, free_length=True)
    assert resting[1] > 0.8
    np.testing.assert_allclose(moving, [0.9, 0.1], atol=1e-6)


def test_the_prior_is_kept_by_a_domain_that_is_mostly_noise():
    gram_tkk, kernel_kt = np.eye(3)[None], np.array([[0.5], [0.2], [0.1]])
    limits, prior = MixtureLimits.with_floor(3, 0.0), np.full(3, 1 / 3)
    noise_tk = np.array([[0.0, 0.0, 1e4]])
    mixture = simplex_mixture(
        gram_tkk, kernel_kt, np.ones(1), np.ones(1), limits, prior=prior, noise_tk=noise_tk,
        free_length=True,
    )  # fmt: skip
    assert mixture[2] == pytest.approx(1 / 3, abs=1e-3)
    assert mixture[0] > mixture[1]


def test_where_every_domain_harms_the_prior_is_kept():
    gram_tkk, kernel_kt = np.diag([1.0, 3.0])[None], np.array([[-0.1], [-0.1]])
    limits, prior = MixtureLimits.with_floor(2, 0.8), np.array([0.9, 0.1])
    problem = gram_tkk, kernel_kt, np.ones(1), np.ones(1), limits
    mixture = simplex_mixture(*problem, prior=prior, free_length=True)
    np.testing.assert_allclose(mixture, [0.6, 0.4], atol=1e-6)  # as near as the floors allow
    alone = simplex_mixture(*problem, free_length=True)
    np.testing.assert_allclose(alone, simplex_mixture(*problem), atol=1e-9)
