import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize

from dids.mixture.power_law import PowerLaw, power_laws

N = np.linspace(2.0, 500.0, 50)


def misfit(law_3, seen_b, loss_b):
    """The slow twin: as in the paper, for one curve."""
    log_beta, log_epsilon, alpha = law_3
    predicted_b = np.log(np.exp(log_epsilon) + np.exp(log_beta) * seen_b**-alpha)
    size_b = np.abs(predicted_b - np.log(loss_b))
    return np.where(size_b > 1e-3, size_b - 5e-4, 500.0 * size_b**2).mean()


def searched_from_every_start(seen_b, loss_b):
    least = min(0.5, math.log(loss_b.min() / 2))
    bounds = [(-20, 6.5), (least, 20), (0, 0.8)]
    starts = itertools.product(range(-2, 6, 2), (-1.0, 0.0, 1.0), (0.1, 0.4, 0.7))
    found = [
        minimize(misfit, np.clip(s, *np.transpose(bounds)), (seen_b, loss_b), bounds=bounds)
        for s in starts
    ]
    return min(each.fun for each in found)


@pytest.mark.parametrize("seed", range(4))
def test_no_search_of_scipys_from_many_starts_finds_a_nearer_law(seed):
    rng = np.random.default_rng(seed)
    epsilon, beta, alpha = rng.uniform(0.8, 3), rng.uniform(1, 6), rng.uniform(0.2, 0.7)
    loss_b = (epsilon + beta * N**-alpha) * np.exp(0.05 * rng.normal(size=len(N)))
    (law,) = power_laws(N, loss_b[:, None])
    found = misfit((law.log_beta, law.log_epsilon, law.alpha), N, loss_b)
    assert found <= 1.02 * searched_from_every_start(N, loss_b)


def test_laws_without_noise_are_found_whatever_else_is_fitted():
    true = [(0.9, 2.0, 0.5), (2.5, 5.0, 0.3), (1.7, 1.5, 0.75)]
    loss_bk = np.stack([e + b * N**-a for e, b, a in true], axis=1)
    laws = power_laws(N, loss_bk)
    for law, (epsilon, beta, alpha) in zip(laws, true, strict=True):
        assert math.exp(law.log_epsilon) == pytest.approx(epsilon, rel=1e-4)
        assert math.exp(law.log_beta) == pytest.approx(beta, rel=1e-4)
        assert law.alpha == pytest.approx(alpha, rel=1e-4)
    (alone,) = power_laws(N, loss_bk[:, 1:2])
    assert alone.slope(500.0) == pytest.approx(laws[1].slope(500.0), rel=1e-6)


def test_steps_without_a_domain_are_left_out_and_too_few_give_no_law():
    loss_b = 1.0 + 2.0 * N**-0.5
    gappy_b = np.where(np.arange(50) % 3 == 0, loss_b, np.nan)
    few_b = np.where(np.arange(50) < 3, loss_b, np.nan)
    gappy, few, never = power_laws(N, np.stack([gappy_b, few_b, np.full(50, np.nan)], axis=1))
    assert gappy.alpha == pytest.approx(0.5, rel=1e-3)
    assert few is None
    assert never is None
    assert power_laws(N, few_b[:, None]) == [None]


def test_the_slope_is_the_losses_derivative():
    law = PowerLaw(math.log(3.0), math.log(1.5), 0.4)
    derivative = (law.loss(100.001) - law.loss(99.999)) / 0.002
    assert law.slope(100.0) == pytest.approx(-derivative, rel=1e-6)
    assert PowerLaw(0.0, 0.0, 0.0).slope(10.0, least_alpha=0.05) == pytest.approx(0.005)


def test_laws_keep_the_bounds():
    rising_b, steep_b = 1.0 + 0.01 * N, 1.0 + 50.0 * N**-1.5
    for law in power_laws(N, np.stack([rising_b, steep_b], axis=1)):
        assert 0.0 <= law.alpha <= 0.8
        assert law.log_beta <= 6.5
        assert law.slope(500.0) >= 0.0


def test_a_few_outliers_do_not_move_a_law():
    loss_b = 1.5 + 3.0 * N**-0.5
    spoiled_b = loss_b.copy()
    spoiled_b[[10, 30]] *= 2.0
    (law,) = power_laws(N, spoiled_b[:, None])
    assert law.alpha == pytest.approx(0.5, rel=0.02)
