"""To first order, a guarded mixture does at least as much for every task as the prior does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.mixture.limits import MixtureLimits, weighted
from dids.mixture.simplex_problem import simplex_mixture


def problem_of(seed, num_domains=5, num_tasks=3):
    rng = np.random.default_rng(seed)
    update = rng.normal(size=(num_domains, 8))
    target = rng.normal(size=(num_tasks, 8)) * np.array([[20.0], [1.0], [1.0]])
    gram_tkk = np.repeat((update @ update.T)[None], num_tasks, axis=0)
    return gram_tkk, update @ target.T, (target**2).sum(1)


@given(st.integers(0, 10_000), st.booleans())
def test_every_task_gets_at_least_what_the_prior_gives_it(seed, with_tokens):
    problem = problem_of(seed)
    limits = MixtureLimits.with_floor(5, 0.1)
    uniform = np.full(5, 0.2)
    tokens_k = np.random.default_rng(seed).uniform(5.0, 200.0, 5) if with_tokens else None
    mixture = simplex_mixture(
        *problem, np.ones(3), limits, sample_weight_k=tokens_k, no_worse_than=uniform
    )
    assert limits.allows(mixture)
    share, reference = mixture, uniform
    if tokens_k is not None:
        share, reference = weighted(mixture, tokens_k), weighted(uniform, tokens_k)
    scale_t = np.abs(problem[1]).max(0)
    assert ((share - reference) @ problem[1] / scale_t).min() >= -1e-6


def test_without_the_guard_a_task_may_fall_behind():
    problem = problem_of(3)
    limits, uniform = MixtureLimits.with_floor(5, 0.0), np.full(5, 0.2)
    found = [
        simplex_mixture(*problem, np.array([1.0, 0.0, 0.0]), limits, no_worse_than=guard)
        for guard in (None, uniform)
    ]
    gains = [(mixture - uniform) @ problem[1] for mixture in found]
    assert gains[0].min() < -0.1
    assert gains[1].min() >= -1e-5


def test_floors_that_leave_no_guarded_mixture_win():
    # The first domain must have nine tenths, and does harm: the limits hold, the guard cannot.
    gram_tkk, kernel_kt = np.eye(2)[None], np.array([[-1.0], [1.0]])
    limits = MixtureLimits(np.array([0.9, 0.0]), np.ones(2))
    mixture = simplex_mixture(
        gram_tkk, kernel_kt, np.ones(1), np.ones(1), limits, no_worse_than=np.full(2, 0.5)
    )
    assert mixture == pytest.approx([0.9, 0.1], abs=1e-6)
