"""DoGE, DGA and R&B: their formulas from the gradients themselves, and where they rest."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_up_trials import MadeUpTrials
from observations import impact_of, observation_of

from dids.mixture.limits import MixtureLimits
from dids.mixture.needs import needs_of
from dids.mixture.policies.dga import Dga
from dids.mixture.policies.doge import Doge, DogeOnline
from dids.mixture.policies.r_and_b import RAndB

ONLINE = [DogeOnline, Dga, RAndB]
FREE = MixtureLimits.with_floor(4, 0.0)
WEIGHTS = np.array([3.0, 1.0])


def gradients(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(4, 6)), scale * rng.normal(size=(2, 6))


def seen_at(step, g, h, previous=None, **changes):
    settings = {
        "step": step,
        "impact": impact_of(g, h),
        "task_weights": WEIGHTS,
        "prior": np.array([0.4, 0.3, 0.2, 0.1]),
        "previous": np.full(4, 0.25) if previous is None else previous,
        "limits": FREE,
    }
    return observation_of(**{**settings, **changes})


def normalised(value):
    return value / value.sum()


@pytest.mark.parametrize("policy", ONLINE)
def test_they_ask_for_gradients_as_they_are(policy):
    assert policy.needs_impact
    assert needs_of(policy()).metric == "plain"


@pytest.mark.parametrize("universal", [False, True])
def test_doges_rule_step_by_step(universal):
    # The released code, written out in vectors; it takes as many steps as the rounds had.
    policy = DogeOnline(learning_rate=1e-2, mu=0.05, max_norm=2.0, universal=universal)
    share, step = np.array([0.4, 0.3, 0.2, 0.1]), 0
    for number, num_steps in enumerate([3, 5, 4]):
        g, h = gradients(number)
        step += num_steps
        found = policy.mixture(seen_at(step, g, h)).mixture
        g, h = (v * np.minimum(1.0, 2.0 / np.linalg.norm(v, axis=1))[:, None] for v in (g, h))
        if universal:
            score = np.array([g[k] @ (g.sum(0) - g[k]) for k in range(4)])
        else:
            score = g @ (1.5 * h[0] + 0.5 * h[1])
        score = score / (np.linalg.norm(g, axis=1).mean() + 1e-6)
        for _ in range(num_steps):
            share = normalised(share * np.exp(1e-2 * np.clip(score, 0.0, 5.0) / 0.05))
        np.testing.assert_allclose(found, share, rtol=1e-9)


def test_doges_exponent_is_bounded_however_long_gradients_are():
    g, h = gradients(0)
    policy = DogeOnline(max_norm=float("inf"))
    found = policy.mixture(seen_at(10, 1e6 * g, 1e9 * h)).mixture
    ratio = found / np.array([0.4, 0.3, 0.2, 0.1])
    assert ratio.max() / ratio.min() == pytest.approx(np.exp(10 * 5.0 * 5e-4 / 0.05))


def test_doge_trains_a_proxy_and_holds_its_mean_mixture():
    trials = MadeUpTrials(np.ones((4, 2)))
    trials.prior = np.array([0.4, 0.3, 0.2, 0.1])
    policy = Doge(budget=0.5, rounds=7)
    assert not policy.needs_impact
    policy.search(trials)
    assert trials.asked == [{"name": "proxy", "model": "proxy", "budget": 0.5, "rounds": 7}]
    # The made-up proxy is asked once: no impact is known then, and the mixture stays.
    again = Doge()
    again.load_state_dict(json.loads(json.dumps(policy.state_dict())))
    for held in (policy, again):
        found = held.mixture(seen_at(5, *gradients(0), impact=None)).mixture
        np.testing.assert_allclose(found, [0.4, 0.3, 0.2, 0.1])


def test_without_a_search_doge_holds_the_prior():
    decision = Doge().mixture(seen_at(5, *gradients(0)))
    np.testing.assert_allclose(decision.mixture, [0.4, 0.3, 0.2, 0.1])
    assert "prior" in decision.explanation["note"]


def test_dgas_rule_round_by_round():
    policy = Dga(step_size=0.7, ema=0.6)
    alpha, drawn = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])
    for number in range(4):
        g, h = gradients(number)
        found = policy.mixture(seen_at(number, g, h, previous=drawn)).mixture
        alpha = normalised(alpha * np.exp(0.7 * g @ (0.75 * h[0] + 0.25 * h[1])))
        drawn = 0.6 * drawn + 0.4 * alpha
        np.testing.assert_allclose(found, drawn, rtol=1e-9)


@pytest.mark.parametrize("tasks", [False, True])
def test_r_and_bs_rule(tasks):
    g, h = gradients(3)
    policy = RAndB(strength=2.5, tasks=tasks)
    target = np.array([0.4, 0.3, 0.2, 0.1]) @ g if not tasks else 0.75 * h[0] + 0.25 * h[1]
    gain = g @ target
    expected = normalised(np.exp(2.5 * gain / np.sqrt((gain**2).sum())))
    for number in range(2):  # it begins afresh every time
        found = policy.mixture(seen_at(number, g, h)).mixture
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_r_and_b_does_not_depend_on_the_length_of_gradients():
    g, h = gradients(3)
    plain, longer = (RAndB().mixture(seen_at(1, s * g, h)).mixture for s in (1.0, 1e3))
    np.testing.assert_allclose(plain, longer, rtol=1e-9)


def test_r_and_b_draws_domains_alike_where_they_are_alike():
    g, h = np.ones((4, 6)), np.ones((2, 6))
    np.testing.assert_allclose(RAndB().mixture(seen_at(1, g, h)).mixture, 0.25)


def test_r_and_b_keeps_the_mixture_where_gradients_vanish():
    previous = np.array([0.1, 0.2, 0.3, 0.4])
    found = RAndB().mixture(seen_at(1, np.zeros((4, 6)), np.zeros((2, 6)), previous=previous))
    np.testing.assert_allclose(found.mixture, previous)


@pytest.mark.parametrize("policy", ONLINE)
def test_permuting_domains_permutes_the_mixture(policy):
    order, prior = [2, 0, 3, 1], np.full(4, 0.25)
    plain, permuted = policy(), policy()
    for number in range(3):
        g, h = gradients(number)
        found = plain.mixture(seen_at(10 * number, g, h, prior=prior)).mixture
        other = permuted.mixture(seen_at(10 * number, g[order], h, prior=prior)).mixture
        np.testing.assert_allclose(other, found[order], rtol=1e-9)


@pytest.mark.parametrize(
    "policy",
    [DogeOnline(mu=0.005), Dga(), RAndB(tasks=True, strength=30.0)],
    ids=["doge", "dga", "r-and-b"],
)
def test_where_nothing_changes_the_domain_that_points_the_tasks_way_takes_all(policy):
    g = np.array([[1.0, 0, 0], [0, 1.0, 0], [0.3, 0.3, 0], [-1.0, 0, 0]])
    h = np.array([[1.0, 0.2, 0], [1.0, 0.2, 0]])
    previous = np.full(4, 0.25)
    for number in range(40):
        previous = policy.mixture(seen_at(50 * number, g, h, previous=previous)).mixture
    assert previous[0] > 0.95


@pytest.mark.parametrize("policy", [DogeOnline, Dga])
def test_no_number_of_rounds_overflows(policy):
    # Weights that are multiplied as they are overflow float64 after some two thousand rounds.
    held = policy()
    # Losses of which nothing is foretold, which would take longer than all else.
    seen = seen_at(0, *gradients(0, scale=1e3), task_losses={"t0": [(0, 2.0)], "t1": [(0, 2.0)]})
    for number in range(2500):
        decision = held.mixture(replace(seen, step=10_000 * number))
    assert FREE.allows(decision.mixture)
    json.dumps(held.state_dict(), allow_nan=False)


@pytest.mark.parametrize("policy", ONLINE)
def test_without_impact_the_mixture_stays_and_the_steps_are_counted_later(policy):
    held, asked = policy(), policy()
    g, h = gradients(0)
    previous = np.array([0.1, 0.2, 0.3, 0.4])
    kept = held.mixture(seen_at(5, g, h, impact=None, previous=previous))
    np.testing.assert_allclose(kept.mixture, previous)
    np.testing.assert_allclose(
        held.mixture(seen_at(9, g, h)).mixture, asked.mixture(seen_at(9, g, h)).mixture
    )


@pytest.mark.parametrize(
    ("policy", "settings", "message"),
    [
        (DogeOnline, {"mu": 0.0}, "mu"),
        (Doge, {"budget": 0.0}, "budget must be above 0"),
        (Doge, {"rounds": 2.5}, "rounds must be a whole number"),
        (Dga, {"ema": 1.0}, "ema from 0 to below 1"),
        (RAndB, {"strength": float("nan")}, "strength must be above 0"),
    ],
)
def test_settings_out_of_range_are_refused(policy, settings, message):
    with pytest.raises(ValueError, match=message):
        policy(**settings)
