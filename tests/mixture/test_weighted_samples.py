"""Where the loss is a mean over tokens, the problem is solved in tokens and answered in samples."""

import numpy as np
import pytest

from dids.mixture.limits import MixtureLimits, unweighted, weighted

UNBOUNDED = MixtureLimits(np.zeros(3), np.ones(3))


def test_weighting_and_unweighting_are_inverse():
    mixture_k, weight_k = np.array([0.2, 0.3, 0.5]), np.array([180.0, 2.0, 40.0])
    assert np.allclose(unweighted(weighted(mixture_k, weight_k), weight_k), mixture_k)


def test_equal_weights_change_nothing():
    generator = np.random.default_rng(0)
    root = generator.normal(size=(3, 5))
    linear_k = generator.normal(size=3)
    limits = MixtureLimits(np.full(3, 0.1), np.array([0.5, 1.0, 1.0]))
    plain = limits.minimiser(root @ root.T, linear_k)
    assert np.allclose(limits.minimiser(root @ root.T, linear_k, np.full(3, 7.0)), plain, atol=1e-6)


def test_long_samples_are_drawn_less_often_for_the_same_share_of_tokens():
    # The best shares of tokens are a third each; a sample of the first domain has ten times more.
    mixture_k = UNBOUNDED.minimiser(np.eye(3), np.zeros(3), np.array([100.0, 10.0, 10.0]))
    assert np.allclose(mixture_k, [1 / 21, 10 / 21, 10 / 21], atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_minimum_is_the_best_of_many_allowed_mixtures(seed):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(4, 6))
    quadratic_kk, linear_k = root @ root.T, -root @ generator.normal(size=6)
    weight_k = generator.uniform(5.0, 100.0, 4)
    limits = MixtureLimits(
        np.full(4, 0.05),
        np.array([1.0, 0.5, 0.6, 1.0]),
        np.array([[1.0, 1.0, 0.0, 0.0]]),
        np.array([0.2]),
        np.array([0.7]),
    )

    def value(mixture_nk: np.ndarray) -> np.ndarray:
        share_nk = mixture_nk * weight_k
        share_nk = share_nk / share_nk.sum(1, keepdims=True)
        return (
            0.5 * np.einsum("nk,kl,nl->n", share_nk, quadratic_kk, share_nk) + share_nk @ linear_k
        )

    found_k = limits.minimiser(quadratic_kk, linear_k, weight_k)
    assert limits.allows(found_k)
    tried_nk = 0.05 + 0.8 * generator.dirichlet(np.ones(4), 50_000)
    tried_nk = tried_nk[[limits.allows(mixture_k) for mixture_k in tried_nk]]
    assert len(tried_nk) > 1000
    assert value(found_k[None])[0] <= value(tried_nk).min() + 1e-9
