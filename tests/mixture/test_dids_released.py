"""The released code's conversion: its formulas by value, and the slips that are its own."""

import numpy as np
import pytest
from observations import FALLING, IMPACT, impact_of, observation_of
from scipy.optimize import curve_fit

from dids.mixture.limits import MixtureLimits
from dids.mixture.policies.dids_released import released_gain, turned_round_shares
from dids.mixture.policy import make_policy

FREE = MixtureLimits.with_floor(4, 0.0)
PREVIOUS = np.array([0.1, 0.2, 0.3, 0.4])


def mixture(**changes):
    seen = {"limits": FREE, "previous": PREVIOUS, **changes}
    return make_policy("dids-released").mixture(observation_of(**seen)).mixture


def by_hand(gain_t):
    """Dictionaries and loops, as in the released code."""
    kl = {k: {t: 0.5 * IMPACT.kernel_kt[k, t] for t in range(2)} for k in range(4)}
    similarity = {k: {} for k in range(4)}
    for t in range(2):
        largest = max(kl[k][t] for k in range(4))
        total = sum(largest - kl[k][t] for k in range(4))
        for k in range(4):
            similarity[k][t] = (largest - kl[k][t]) / total
    weights = {}
    for k in range(4):
        utility = sum(similarity[k][t] * gain_t[t] / PREVIOUS[k] for t in range(2)) / 2
        weights[k] = 1e-7 if utility < 0 else utility
    total = sum(weights.values())
    return np.array([0.2 * PREVIOUS[k] + 0.8 * weights[k] / total for k in range(4)])


def test_the_mixture_equals_the_released_codes():
    short = FALLING[:3]
    gain = short[1][1] - short[2][1] + 1.0
    found = mixture(task_losses={"t0": short, "t1": short})
    np.testing.assert_allclose(found, by_hand([gain, gain]), rtol=1e-12)
    long = [(n, loss + 0.01 * (-1) ** n) for n, loss in FALLING]
    gains = [gain, released_gain(long)]
    found = mixture(task_losses={"t0": short, "t1": long})
    np.testing.assert_allclose(found, by_hand(gains), rtol=1e-12)


def test_before_two_losses_are_known_shares_alone_decide():
    share = turned_round_shares(IMPACT.kernel_kt).sum(1)
    expected = 0.2 * PREVIOUS + 0.8 * share / share.sum()
    np.testing.assert_allclose(mixture(task_losses={"t0": FALLING[:1]}), expected, rtol=1e-12)


def test_its_first_slip_draws_most_of_the_domain_that_harms():
    uniform = np.full(4, 0.25)
    found = mixture(previous=uniform, task_losses={"t0": FALLING, "t1": FALLING})
    assert found.argmax() == 3
    assert found[:2].max() < found[2] < found[3]


def test_its_potential_is_a_constant_then_an_unbounded_fit():
    assert np.isnan(released_gain(FALLING[:1]))
    assert released_gain(FALLING[:4]) == pytest.approx(FALLING[2][1] - FALLING[3][1] + 1.0)
    # Exact data: what is left after five more rounds is known.
    loss = [loss for _, loss in FALLING]
    drop = loss[-1] - (2.0 * 0.8 ** (len(loss) + 5) + 1.0)
    assert released_gain(FALLING) == pytest.approx(loss[-2] - loss[-1] + drop, rel=1e-6)
    # A rising loss promises a rise.
    rising = [(n, 1.0 + 0.1 * n + 0.02 * n * n) for n in range(8)]
    assert released_gain(rising) < -0.1


def test_a_fit_that_fails_promises_nothing(monkeypatch):
    def fails(*args, **settings):
        raise RuntimeError("Optimal parameters not found")

    monkeypatch.setattr("dids.mixture.policies.dids_released.curve_fit", fails)
    assert released_gain(FALLING) == pytest.approx(FALLING[-2][1] - FALLING[-1][1])
    assert curve_fit is not fails


def test_where_every_utility_is_negative_it_becomes_uniform():
    rising = [(0, 1.0), (1, 4.0)]
    found = mixture(task_losses={"t0": rising, "t1": rising})
    np.testing.assert_allclose(found, 0.2 * PREVIOUS + 0.2, rtol=1e-6)


def test_domains_that_are_all_alike_have_no_share_at_all():
    alike = impact_of(np.ones((4, 3)), np.ones((2, 3)))
    np.testing.assert_array_equal(turned_round_shares(alike.kernel_kt), 0.0)
    found = mixture(impact=alike, task_losses={"t0": FALLING, "t1": FALLING})
    np.testing.assert_allclose(found, 0.2 * PREVIOUS + 0.2)


def test_any_history_gives_a_finite_mixture():
    rng = np.random.default_rng(0)
    for _ in range(30):
        losses = [(n, float(loss)) for n, loss in enumerate(rng.exponential(3.0, size=9))]
        assert np.isfinite(mixture(task_losses={"t0": losses, "t1": FALLING})).all()
