import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from remaining import remaining_distance

from dids.mixture.limits import MixtureLimits
from dids.mixture.simplex_problem import simplex_mixture


def problem_of(rng, num_domains, num_tasks, num_parameters=6):
    """Steps, targets and metrics, with the matrices that follow from them."""
    update = rng.normal(size=(num_domains, num_parameters))
    target = rng.normal(size=(num_tasks, num_parameters))
    fisher = rng.uniform(0.1, 2.0, size=(num_tasks, num_parameters))
    return update, target, fisher


def matrices_of(update, target, fisher):
    return (
        np.einsum("tp,kp,lp->tkl", fisher, update, update),
        np.einsum("tp,kp,tp->kt", fisher, update, target),
        np.einsum("tp,tp,tp->t", fisher, target, target),
    )


def slow_objective(mixture, update, target, fisher, weights):
    """The tasks' relative distances, straight from the parameter vectors."""
    total = 0.0
    for h, f, w in zip(target, fisher, weights / weights.sum(), strict=True):
        gap = mixture @ update - h
        total += w * (0.5 * (f * gap * gap).sum()) / (0.5 * (f * h * h).sum())
    return total


def grid(num_domains, steps):
    for parts in itertools.combinations(range(steps + num_domains - 1), num_domains - 1):
        edges = [-1, *parts, steps + num_domains - 1]
        yield np.diff(edges) - 1.0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("num_domains", [2, 3, 4])
def test_no_mixture_of_a_fine_grid_is_better(seed, num_domains):
    rng = np.random.default_rng(seed)
    update, target, fisher = problem_of(rng, num_domains, num_tasks=3)
    weights = rng.uniform(0.5, 2.0, size=3)
    limits = MixtureLimits.with_floor(num_domains, 0.3)
    mixture = simplex_mixture(*matrices_of(update, target, fisher), weights, limits)
    assert limits.allows(mixture)
    found = slow_objective(mixture, update, target, fisher, weights)
    steps = {2: 1000, 3: 120, 4: 40}[num_domains]
    best, best_mixture = np.inf, None
    for parts in grid(num_domains, steps):
        other = 0.3 / num_domains + 0.7 * parts / steps
        value = slow_objective(other, update, target, fisher, weights)
        if value < best:
            best, best_mixture = value, other
    assert found <= best + 1e-9
    np.testing.assert_allclose(mixture, best_mixture, atol=3 / steps)


def test_the_best_mixture_is_the_one_the_task_is_made_of():
    rng = np.random.default_rng(0)
    update, _, fisher = problem_of(rng, 5, 1, num_parameters=20)
    truth = np.array([0.5, 0.3, 0.2, 0.0, 0.0])
    matrices = matrices_of(update, (truth @ update)[None], fisher)
    mixture = simplex_mixture(*matrices, np.ones(1), MixtureLimits.with_floor(5, 0.0))
    np.testing.assert_allclose(mixture, truth, atol=1e-5)
    np.testing.assert_allclose(remaining_distance(*matrices, mixture), [0.0], atol=1e-9)


def test_copies_of_a_domain_share_its_weight():
    rng = np.random.default_rng(1)
    update, target, fisher = problem_of(rng, 3, 2, num_parameters=20)
    target = target + 3 * update[0] + update[1]
    alone = simplex_mixture(
        *matrices_of(update, target, fisher), np.ones(2), MixtureLimits.with_floor(3, 0.0)
    )
    copied = update[[0, 0, 0, 1, 2]]
    shared = simplex_mixture(
        *matrices_of(copied, target, fisher), np.ones(2), MixtureLimits.with_floor(5, 0.0)
    )
    assert alone[0] > 0.3
    np.testing.assert_allclose(shared[:3], alone[0] / 3, atol=1e-4)
    np.testing.assert_allclose(shared[3:], alone[1:], atol=1e-4)


def test_domains_that_are_only_good_together_both_get_weight():
    update = np.array([[1.0, 5.0], [1.0, -5.0], [0.2, 0.0]])
    matrices = matrices_of(update, np.array([[1.0, 0.0]]), np.ones((1, 2)))
    alone = remaining_distance(*matrices, np.array([1.0, 0.0, 0.0]))
    assert alone[0] > 1.0  # worse than standing still
    mixture = simplex_mixture(*matrices, np.ones(1), MixtureLimits.with_floor(3, 0.0))
    np.testing.assert_allclose(mixture, [0.5, 0.5, 0.0], atol=1e-4)


def test_a_harmful_domain_gets_its_floor():
    update = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    matrices = matrices_of(update, np.array([[1.0, 1.0]]), np.ones((1, 2)))
    limits = MixtureLimits.with_floor(3, 0.1)
    mixture = simplex_mixture(*matrices, np.ones(1), limits)
    np.testing.assert_allclose(mixture[2], 0.1 / 3, atol=1e-9)


@given(st.integers(0, 500), st.floats(0.01, 100.0))
def test_the_size_of_a_tasks_gradients_does_not_make_it_more_important(seed, factor):
    rng = np.random.default_rng(seed)
    update, target, fisher = problem_of(rng, 4, 2, num_parameters=12)
    limits = MixtureLimits.with_floor(4, 0.0)
    scaled = fisher * np.array([[factor], [1.0]])
    np.testing.assert_allclose(
        simplex_mixture(*matrices_of(update, target, fisher), np.ones(2), limits),
        simplex_mixture(*matrices_of(update, target, scaled), np.ones(2), limits),
        atol=1e-4,
    )


@given(st.integers(0, 500))
def test_permuting_domains_permutes_the_mixture(seed):
    rng = np.random.default_rng(seed)
    update, target, fisher = problem_of(rng, 5, 2, num_parameters=12)
    order = rng.permutation(5)
    limits = MixtureLimits.with_floor(5, 0.1)
    mixture = simplex_mixture(*matrices_of(update, target, fisher), np.ones(2), limits)
    permuted = simplex_mixture(*matrices_of(update[order], target, fisher), np.ones(2), limits)
    np.testing.assert_allclose(permuted, mixture[order], atol=1e-6)


def test_a_strong_prior_holds_and_splitting_a_domain_leaves_its_share():
    rng = np.random.default_rng(3)
    update, target, fisher = problem_of(rng, 3, 2)
    prior = np.array([0.6, 0.3, 0.1])
    problem = matrices_of(update, target, fisher)
    held = simplex_mixture(
        *problem, np.ones(2), MixtureLimits.with_floor(3, 0.0), prior=prior, prior_strength=1e6
    )
    np.testing.assert_allclose(held, prior, atol=1e-4)
    whole = simplex_mixture(
        *problem, np.ones(2), MixtureLimits.with_floor(3, 0.0), prior=prior, prior_strength=0.5
    )
    split = simplex_mixture(
        *matrices_of(update[[0, 0, 1, 2]], target, fisher),
        np.ones(2),
        MixtureLimits.with_floor(4, 0.0),
        prior=np.array([0.3, 0.3, 0.3, 0.1]),
        prior_strength=0.5,
    )
    np.testing.assert_allclose([split[0] + split[1], *split[2:]], whole, atol=1e-5)


def test_a_domain_without_evidence_keeps_its_prior():
    rng = np.random.default_rng(3)
    update, target, fisher = problem_of(rng, 4, 2, num_parameters=12)
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    noise = np.zeros((2, 4))
    noise[:, 1] = 1e6
    mixture = simplex_mixture(
        *matrices_of(update, target, fisher),
        np.ones(2),
        MixtureLimits.with_floor(4, 0.0),
        prior=prior,
        noise_tk=noise,
    )
    assert mixture[1] == pytest.approx(0.3, abs=1e-4)
    assert np.abs(mixture - prior)[[0, 2, 3]].max() > 0.05


def test_a_task_without_a_step_of_its_own_is_left_out():
    rng = np.random.default_rng(4)
    update, target, fisher = problem_of(rng, 3, 2)
    target[1] = 0.0
    limits = MixtureLimits.with_floor(3, 0.0)
    both = simplex_mixture(*matrices_of(update, target, fisher), np.ones(2), limits)
    one = simplex_mixture(*matrices_of(update, target[:1], fisher[:1]), np.ones(1), limits)
    np.testing.assert_allclose(both, one, atol=1e-6)


def test_hundreds_of_domains_are_solved():
    rng = np.random.default_rng(5)
    update, target, fisher = problem_of(rng, 300, 2, num_parameters=40)
    limits = MixtureLimits.with_floor(300, 0.1)
    mixture = simplex_mixture(*matrices_of(update, target, fisher), np.ones(2), limits)
    assert limits.allows(mixture)


@pytest.mark.parametrize("weights", [[-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]])
def test_weights_that_are_none_are_refused(weights):
    rng = np.random.default_rng(6)
    problem = matrices_of(*problem_of(rng, 2, 2))
    with pytest.raises(ValueError, match="weight"):
        simplex_mixture(*problem, np.array(weights), MixtureLimits.with_floor(2, 0.0))
