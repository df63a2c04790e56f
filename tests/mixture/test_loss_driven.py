"""Policies that follow training losses, against the papers' formulas, step by step."""

import json
import math

import numpy as np
import pytest
from observations import observation_of

from dids.domains.regrouping import Regrouping
from dids.errors import InputError
from dids.mixture.group_dro import GroupDro
from dids.mixture.limits import MixtureLimits
from dids.mixture.policies.odm import exploration
from dids.mixture.policy import POLICIES, TrainedOn, make_policy

FREE = MixtureLimits(np.zeros(4), np.ones(4))
UNIFORM = np.full(4, 0.25)
STEPS = 200


def trained(loss, excess=None):
    loss = np.array(loss, dtype=float)
    return TrainedOn(
        tokens_k=np.where(np.isfinite(loss), 100.0, 0.0),
        loss_k=loss,
        excess_k=None if excess is None else np.array(excess, dtype=float),
    )


def seen_at(step, previous, seen, **changes):
    settings = {"num_steps": STEPS, "limits": FREE, "impact": None, "progress": step / STEPS}
    return observation_of(
        **{**settings, "step": step, "tokens": 2048 * step, "previous": previous, **changes},
        trained=seen,
    )


def walked(policy, losses_sk, start=0, mixture=UNIFORM, **changes):
    """The mixtures of all steps, each observed with the one before."""
    found = []
    for step, loss_k in enumerate(losses_sk, start=start):
        seen = None if step == 0 else trained(loss_k)
        mixture = policy.mixture(seen_at(step, mixture, seen, **changes)).mixture
        found.append(mixture)
    return np.stack(found)


def noisy_losses(seed=0, steps=STEPS, missing=0.3):
    rng = np.random.default_rng(seed)
    loss_sk = rng.uniform(1.0, 4.0, size=(steps, 4))
    loss_sk[rng.random(size=loss_sk.shape) < missing] = np.nan
    return loss_sk


def test_loss_softmax_is_the_softmax_of_the_last_losses():
    policy = make_policy("loss-softmax", temperature=2.0)
    policy.mixture(seen_at(10, UNIFORM, trained([1.0, 2.0, np.nan, np.nan])))
    found = policy.mixture(seen_at(20, UNIFORM, trained([3.0, np.nan, 4.0, np.nan]))).mixture
    share = np.exp(np.array([3.0, 2.0, 4.0, 3.0]) / 2.0)
    np.testing.assert_allclose(found, share / share.sum(), rtol=1e-12)


def test_odm_is_exp3_with_a_moving_average_of_rewards():
    policy, losses_sk = make_policy("odm", smoothing=0.8, warmup=0.02), noisy_losses()
    found_sk = walked(policy, losses_sk, prior=np.array([0.4, 0.3, 0.2, 0.1]))
    reward, mixture = [0.0] * 4, np.array([0.4, 0.3, 0.2, 0.1])
    np.testing.assert_array_equal(found_sk[:4], np.tile(mixture, (4, 1)))
    for step in range(4, STEPS):
        for k in range(4):
            if math.isfinite(losses_sk[step, k]):
                reward[k] = 0.8 * reward[k] + 0.2 * losses_sk[step, k] / mixture[k]
        rate = min(0.25, math.sqrt(math.log(4) / (4 * step)))
        next_rate = min(0.25, math.sqrt(math.log(4) / (4 * (step + 1))))
        power = [math.exp(rate * each) for each in reward]
        mixture = np.array([(1 - 4 * next_rate) * each / sum(power) + next_rate for each in power])
        np.testing.assert_allclose(found_sk[step], mixture, rtol=1e-9)


def test_odm_draws_more_of_the_higher_loss_and_ends_near_uniform():
    # The law of the paper's moving average: bounded rewards times a rate that falls.
    losses_sk = np.tile([2.0, 2.0, 2.0, 4.0], (STEPS, 1))
    early_k = walked(make_policy("odm"), losses_sk)[-1]
    late_k = walked(make_policy("odm"), losses_sk[:50], start=10**7, mixture=early_k)[-1]
    assert early_k[3] > 0.28 > 0.25 > early_k[:3].max()
    np.testing.assert_allclose(late_k, 0.25, atol=5e-3)


def test_explored_enough_whatever_the_losses():
    losses_sk = np.tile([1e-3, 1e-3, 1e-3, 50.0], (STEPS, 1))
    found_sk = walked(make_policy("odm"), losses_sk)
    for step in range(3, STEPS):
        assert found_sk[step].min() >= exploration(4, step + 1) - 1e-12


@pytest.mark.parametrize("name", ["loss-softmax", "odm", "ado"])
def test_no_loss_and_no_length_of_a_run_overflows(name):
    # A rival's weights are products that nobody normalises: inf after about 2,000 updates.
    policy, mixture = make_policy(name), UNIFORM
    losses = [[1e-9, 1e4, 7.0, np.nan], [900.0, 1e-12, 1e4, 1e4]]
    with np.errstate(over="raise", invalid="raise"):
        for step in range(3000):
            seen = trained(losses[step % 2])
            told = policy.mixture(seen_at(step + 1, mixture, seen, num_steps=3000))
            mixture = told.mixture
    assert np.isfinite(mixture).all()
    assert mixture.sum() == pytest.approx(1.0)
    json.dumps(policy.state_dict(), allow_nan=False)
    json.dumps(told.explanation, allow_nan=False)


LAWS = [(1.7, 1.0, 0.5), (1.8, 2.0, 0.5), (2.0, 3.0, 0.2), (2.5, 0.3, 0.5)]


def lawful_losses(steps=STEPS):
    """Of steps with two sequences of 1,024 tokens each."""
    n_s = np.maximum(2.0 * np.arange(steps), 1.0)
    return np.stack([e + b * n_s**-a for e, b, a in LAWS], axis=1)


@pytest.mark.parametrize(("power", "decay", "inertia"), [(0.5, 0.9, 0.9), (1.0, 0.5, 0.3)])
def test_ado_draws_by_the_papers_steps_from_the_laws_that_it_found(power, decay, inertia):
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    policy = make_policy("ado", credit_power=power, credit_decay=decay, inertia=inertia)
    credit, average, mixture, losses_sk = prior, prior, prior, lawful_losses()
    for step in range(1, STEPS):
        found = policy.mixture(seen_at(step, mixture, trained(losses_sk[step]), prior=prior))
        credit = decay * credit + (1 - decay) * mixture
        if step >= 10:
            n, laws = 2.0 * step, policy.state_dict()["laws"]
            slope = np.array([max(a, 0.05) * math.exp(b) * n**-a / n for b, _, a in laws])
            rho = prior * credit**power * slope
            rho = np.maximum(rho / rho.sum(), 0.01)
            rho = rho / rho.sum()
            mixture = inertia * average + (1 - inertia) * rho
            average = average + (rho - average) / (step + 1)
        np.testing.assert_allclose(found.mixture, mixture, rtol=1e-9)
    slopes = [b * a * n**-a for _, b, a in LAWS]
    found = [math.exp(b) * a * n**-a for b, _, a in laws]
    np.testing.assert_allclose(found, slopes, rtol=0.2)


def test_ado_ranks_domains_by_how_fast_their_losses_still_fall():
    rng = np.random.default_rng(0)
    losses_sk = lawful_losses() * np.exp(0.003 * rng.normal(size=(STEPS, 4)))
    losses_sk[rng.random(size=losses_sk.shape) < 0.3] = np.nan
    found_k = walked(make_policy("ado"), losses_sk)[-1]
    assert found_k.argsort().tolist() == [3, 0, 1, 2]


def test_ados_least_share_does_not_make_a_hundred_domains_uniform():
    # A rival's least share is exactly uniform for 34 domains and more; 0.01 would be for 100.
    number = 150
    policy, mixture = make_policy("ado", inertia=0.0), np.full(number, 1 / number)
    for step in range(1, 60):
        n = 2.0 * step
        loss_k = 2.0 + np.where(np.arange(number) < 10, 3.0, 0.1) * n**-0.5
        seen = trained(loss_k)
        changes = {
            "prior": np.full(number, 1 / number), "sizes_k": np.full(number, 9),
            "draws_k": np.zeros(number, dtype=int), "domain_names": (),
            "limits": MixtureLimits(np.zeros(number), np.ones(number)),
        }  # fmt: skip
        mixture = policy.mixture(seen_at(step, mixture, seen, **changes)).mixture
    assert mixture[:10].min() > 2 / number > 2 * mixture[10:].max()


def test_group_dro_equals_the_papers_algorithm():
    policy, rng = GroupDro(step_size=0.7, smoothing=0.05), np.random.default_rng(0)
    weight, excess, mixture = UNIFORM, np.zeros(4), UNIFORM
    np.testing.assert_array_equal(policy.mixture(seen_at(0, mixture, None)).mixture, UNIFORM)
    for step in range(1, 60):
        seen = rng.uniform(0, 0.5, size=4)
        seen[rng.random(4) < (0.4 if step > 1 else 0.0)] = np.nan
        excess = np.where(np.isfinite(seen), seen, excess)
        weight = weight * np.exp(0.7 * excess)
        weight = 0.95 * weight / weight.sum() + 0.05 / 4
        observed = seen_at(step, mixture, trained(seen + 1.0, seen))
        mixture = policy.mixture(observed).mixture
        np.testing.assert_allclose(mixture, weight, rtol=1e-10)


def test_group_dro_goes_to_the_domain_furthest_above_the_reference_and_no_further():
    policy, mixture = GroupDro(), UNIFORM
    for step in range(1, 3000):
        seen = trained([3.0, 1.0, 2.0, 2.0], [0.0, 0.3, 0.1, 0.1])
        mixture = policy.mixture(seen_at(step, mixture, seen)).mixture
    # At rest the others lose in every step what smoothing gives them.
    others = (1e-3 / 4) / (1.0 - np.exp(np.array([0.0, 0.1, 0.1]) - 0.3))
    np.testing.assert_allclose(mixture[[0, 2, 3]], others, rtol=0.02)
    assert mixture[1] == mixture.max() > 0.99


@pytest.mark.parametrize("name", ["loss-softmax", "odm", "ado", "group-dro"])
def test_permuting_domains_permutes_every_mixture(name):
    order, losses_sk = [2, 0, 3, 1], noisy_losses()
    prior = np.array([0.4, 0.3, 0.2, 0.1])

    def mixtures(order):
        policy, mixture, found = GroupDro() if name == "group-dro" else make_policy(name), prior, []
        mixture = mixture[order]
        for step in range(1, 40):
            loss_k = losses_sk[step][order]
            seen = seen_at(step, mixture, trained(loss_k, 0.1 * loss_k), prior=prior[order])
            mixture = policy.mixture(seen).mixture
            found.append(mixture)
        return np.stack(found)

    np.testing.assert_allclose(mixtures(order), mixtures([0, 1, 2, 3])[:, order], atol=1e-6)


@pytest.mark.parametrize("name", ["loss-softmax", "odm", "ado", "group-dro"])
def test_a_run_that_stops_anywhere_goes_on_to_the_same_mixtures(name):
    def made():
        return GroupDro() if name == "group-dro" else make_policy(name)

    alone, stopped, mixture, losses_sk = made(), made(), UNIFORM, noisy_losses(3)
    for step in range(STEPS):
        if step in (1, 7, 11, 64, 65, 150):
            resumed = made()
            resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict(), allow_nan=False)))
            stopped = resumed
        loss_k = losses_sk[step]
        seen = seen_at(step, mixture, trained(loss_k, 0.1 * loss_k))
        mixture = alone.mixture(seen).mixture
        np.testing.assert_array_equal(mixture, stopped.mixture(seen).mixture)


@pytest.mark.parametrize("name", ["loss-softmax", "odm", "ado", "doremi", "weights", "schedule"])
@pytest.mark.parametrize("seen", [None, trained([np.nan] * 4)])
def test_where_nothing_was_seen_yet_a_mixture_that_was_given_holds(name, seen):
    given = np.array([0.4, 0.3, 0.2, 0.1])
    first = make_policy(name).mixture(seen_at(0, given, seen, prior=given))
    np.testing.assert_array_equal(first.mixture, given)
    floored = MixtureLimits.with_floor(4, 0.8)
    changes = {"prior": given, "limits": floored}
    assert floored.allows(make_policy(name).mixture(seen_at(0, given, seen, **changes)).mixture)


@pytest.mark.parametrize("name", ["odm", "group-dro"])
def test_asked_every_third_step_they_end_where_every_step_would_have_led(name):
    # Long runs ask less often; what does not change from step to step then counts as often.
    found = []
    for every in (1, 3):
        policy = GroupDro(step_size=0.02) if name == "group-dro" else make_policy(name, warmup=0)
        for step in range(0, 61, every):
            seen = trained([2.0, 1.0, 3.0, 1.5], [0.2, 0.1, 0.3, 0.0]) if step else None
            mixture = policy.mixture(seen_at(step, UNIFORM, seen)).mixture
        found.append(mixture)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_says_what_may_be_tuned(name):
    searched = getattr(POLICIES[name], "searched", ({},))
    assert searched[0] == {}
    assert len(searched) in (1, 3)
    for settings in searched:
        make_policy(name, **settings)


@pytest.mark.parametrize("name", ["loss-softmax", "odm", "ado", "group-dro"])
def test_regrouped_policies_go_on(name):
    passed = np.array([[1.0, 0, 0, 0], [0, 0.6, 0, 0], [0, 0.4, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
    origin = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 0]])
    regrouping = Regrouping(passed, origin, tuple("abcd"), ("a", "b/0", "b/1", "c+d", "new"))
    policy = GroupDro() if name == "group-dro" else make_policy(name)
    for step in range(30):
        loss_k = lawful_losses()[step]
        policy.mixture(seen_at(step, UNIFORM, trained(loss_k, 0.1 * loss_k)))
    policy.regroup(regrouping)
    limits = MixtureLimits.with_floor(5, 0.1)
    changes = {
        "sizes_k": np.full(5, 9), "draws_k": np.zeros(5, dtype=int), "limits": limits,
        "prior": np.full(5, 0.2), "domain_names": regrouping.names,
    }  # fmt: skip
    mixture = np.full(5, 0.2)
    for step, seen in enumerate([None, trained([2.0, np.nan, 1.0, 3.0, np.nan], [0.1] * 5)], 30):
        mixture = policy.mixture(seen_at(step, mixture, seen, **changes)).mixture
        assert limits.allows(mixture)
        if name == "loss-softmax" and seen is None:
            assert mixture[1] == pytest.approx(mixture[2])


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("loss-softmax", {"temperature": 0.0}, "temperature must be above 0"),
        ("loss-softmax", {"every_steps": 0}, "every_steps must be 1 or more"),
        ("odm", {"smoothing": 1.0}, "smoothing must be from 0 to below 1"),
        ("odm", {"warmup": -0.1}, "warmup must be from 0 to below 1"),
        ("ado", {"credit_power": -1.0}, "credit_power must be 0 or more"),
        ("ado", {"inertia": 1.5}, "inertia must be from 0 to 1"),
        ("ado", {"inertias": 0.5}, "did you mean 'inertia'"),
        ("doremi", {"step_size": 0.0}, "step_size must be above 0"),
        ("doremi", {"smoothing": 2.0}, "smoothing must be from 0 to 1"),
        ("doremi", {"repeats": 0}, "repeats must be 1 or more"),
        ("doremi", {"budget": 0.0}, "budget must be above 0 and at most 1"),
    ],
)
def test_settings_that_mean_nothing_are_told(name, settings, message):
    with pytest.raises(InputError, match=rf"mixture\.settings.*{message}"):
        make_policy(name, **settings)
