"""The prior has the shares that were asked for and is uniform where nothing was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from dids.mixture.prior import leaning_prior, prior_with_shares


def test_shares_of_groups_that_do_not_overlap_are_spread_evenly():
    rows = np.array([[1.0, 1, 0, 0, 0], [0, 0, 1, 0, 0]])
    np.testing.assert_allclose(
        prior_with_shares(rows, np.array([0.6, 0.1])), [0.3, 0.3, 0.1, 0.15, 0.15], atol=1e-12
    )


def test_groups_that_are_everything_need_shares_that_sum_to_one():
    rows = np.array([[1.0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(
        prior_with_shares(rows, np.array([0.7, 0.3])), [0.35, 0.35, 0.3], atol=1e-12
    )
    assert prior_with_shares(rows, np.array([0.7, 0.4])) is None


@pytest.mark.parametrize("share", [0.05, 0.3, 0.45])
def test_a_domain_that_half_belongs_counts_half(share):
    row = np.array([[1.0, 0.5, 0.0]])
    prior = prior_with_shares(row, np.array([share]))
    assert row @ prior == pytest.approx(share, abs=1e-12)
    assert prior[1] ** 2 == pytest.approx(prior[0] * prior[2], rel=1e-9)  # exponential in the row


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_no_other_mixture_with_these_shares_is_nearer_to_uniform(seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 2, size=(2, 5)).astype(float)
    shares = rows @ rng.dirichlet(np.full(5, 5.0))
    prior = prior_with_shares(rows, shares)
    found = minimize(
        lambda p: float(np.sum(p * np.log(p))),
        np.full(5, 0.2),
        bounds=[(1e-9, 1.0)] * 5,
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "eq", "fun": lambda p: rows @ p - shares},
        ],
    )
    entropy = float(np.sum(prior * np.log(prior)))
    np.testing.assert_allclose(rows @ prior, shares, atol=1e-9)
    if found.success:
        assert entropy <= found.fun + 1e-6


def test_a_domain_in_two_halves_has_what_it_had_in_a_leaning_prior():
    prior_k, loss_k = np.array([0.2, 0.3, 0.5]), np.array([1.0, 2.5, 2.0])
    whole = leaning_prior(prior_k, loss_k, 0.7)
    halves = leaning_prior(np.array([0.1, 0.1, 0.3, 0.5]), np.array([1.0, 1.0, 2.5, 2.0]), 0.7)
    np.testing.assert_allclose(halves, [whole[0] / 2, whole[0] / 2, *whole[1:]], rtol=1e-12)
    np.testing.assert_allclose(leaning_prior(prior_k, loss_k, 0.0), prior_k)
    np.testing.assert_allclose(leaning_prior(prior_k, loss_k + 900.0, 0.7), whole)
    assert (np.diff(np.log(whole / prior_k)[np.argsort(loss_k)]) > 0).all()
