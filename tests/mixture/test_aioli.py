"""Aioli in a made-up run: each step lowers the tasks' losses by what its mixture does."""

import json

import numpy as np
import pytest
from observations import observation_of

from dids.mixture.limits import MixtureLimits
from dids.mixture.needs import needs_of
from dids.mixture.policies.aioli import Aioli

# What a step on each domain alone does for each task.
LAW_KT = np.array([[0.02, 0.001], [0.004, 0.012], [0.001, 0.001], [-0.002, 0.004]])


def asked(policy, num_steps, every=4, law_kt=LAW_KT, floor=0.0, weights=None, extra=(), lag=0):
    """Steps at which it is asked, with the mixture that it gives then, to hold after a lag."""
    limits = MixtureLimits.with_floor(len(law_kt), floor)
    losses = {f"t{t}": [(0, 5.0)] for t in range(law_kt.shape[1])}
    prior = np.full(len(law_kt), 1 / len(law_kt))
    mixture, found, drawn, pending = prior, [], np.zeros(len(law_kt), dtype=int), []
    for step in range(num_steps):
        is_first = step == 0
        if step % every == 0 or step in extra:
            seen = observation_of(
                step=step, tokens=step, num_steps=num_steps, progress=step / num_steps,
                impact=None, task_losses={} if is_first else losses, limits=limits,
                task_weights=np.ones(law_kt.shape[1]) if weights is None else weights,
                sizes_k=np.full(len(law_kt), 9), draws_k=drawn,
                previous=mixture, prior=prior,
            )  # fmt: skip
            mixture = policy.mixture(seen).mixture
            found.append((step, mixture))
        pending.append(mixture)
        held = pending[max(0, step - lag)]
        drawn = drawn + np.rint(1e9 * held).astype(int)
        for (task, history), drop in zip(losses.items(), held @ law_kt, strict=True):
            losses[task] = [*history, (step + 1, history[-1][1] - drop)]
    return found


def normalised_law(law_kt, weights=(1.0, 1.0)):
    """The released code's: shifted to have no negative entry, scaled to sum to 1."""
    law_kt = law_kt * np.array(weights)
    law_kt = law_kt - min(0.0, law_kt.min())
    return law_kt / law_kt.sum()


def test_it_asks_for_the_tasks_losses_after_every_try():
    needs = needs_of(Aioli(segment_steps=3))
    assert (needs.every_steps, needs.task_losses) == (3, True)
    assert not Aioli.needs_impact


@pytest.mark.parametrize("smoothing", [0.0, 0.75])
def test_a_sweep_finds_the_law_and_the_weights_follow_it(smoothing):
    # One round in 400 steps, of 4 sweeps over 4 domains with 4 steps each: 64 of them.
    found = asked(Aioli(step_size=5.0, rounds=1, smoothing=smoothing), 400)
    tried = np.array([mixture for step, mixture in found if 4 <= step < 68])
    share = 1.0 - smoothing + smoothing / 4
    assert len(tried) == 16
    np.testing.assert_allclose(tried.max(axis=1), share)
    assert np.bincount(tried.argmax(axis=1)).tolist() == [4, 4, 4, 4]
    weight = np.exp(5.0 * normalised_law(LAW_KT).sum(1))
    for step, mixture in found:
        if step >= 68:
            np.testing.assert_allclose(mixture, weight / weight.sum(), rtol=1e-6)


def test_rounds_add_up():
    num_rounds = 5
    found = asked(Aioli(step_size=0.5, rounds=num_rounds), 1500)
    weight = np.exp(num_rounds * 0.5 * normalised_law(LAW_KT).sum(1))
    np.testing.assert_allclose(found[-1][1], weight / weight.sum(), rtol=1e-6)


def test_the_users_task_weights_count():
    found = asked(Aioli(step_size=5.0, rounds=1), 400, weights=np.array([3.0, 1.0]))
    weight = np.exp(5.0 * normalised_law(LAW_KT, (1.5, 0.5)).sum(1))
    np.testing.assert_allclose(found[-1][1], weight / weight.sum(), rtol=1e-6)


def test_limits_that_change_the_tries_do_not_change_what_is_learnt():
    found = asked(Aioli(step_size=2.0, rounds=1, smoothing=0.0), 400, floor=0.4)
    weight = np.exp(2.0 * normalised_law(LAW_KT).sum(1))
    np.testing.assert_allclose(found[-1][1], weight / weight.sum(), rtol=1e-6)
    assert min(mixture.min() for _, mixture in found) >= 0.1 - 1e-9


@pytest.mark.parametrize("lag", [1, 3, 6])
def test_loaders_that_read_ahead_do_not_change_what_is_learnt(lag):
    plain = asked(Aioli(step_size=5.0, rounds=1), 400)
    late = asked(Aioli(step_size=5.0, rounds=1), 400, lag=lag)
    np.testing.assert_allclose(late[-1][1], plain[-1][1], rtol=1e-5)


def test_being_asked_in_the_middle_of_a_try_changes_nothing_that_is_learnt():
    plain = asked(Aioli(step_size=5.0, rounds=1), 400)
    disturbed = asked(Aioli(step_size=5.0, rounds=1), 400, extra=(21, 50, 51))
    np.testing.assert_allclose(disturbed[-1][1], plain[-1][1], rtol=1e-6)


def test_many_domains_get_fewer_sweeps_and_a_short_run_none():
    law_kt = np.full((20, 1), 0.001)
    law_kt[0] = 0.01

    def steps_of_tries(num_steps):
        found = asked(Aioli(step_size=50.0), num_steps, law_kt=law_kt)
        return 4 * sum(np.isclose(mixture.max(), 0.25 + 0.75 / 20) for _, mixture in found)

    assert steps_of_tries(8000) <= 0.3 * 8000
    assert steps_of_tries(300) == 80  # one sweep, once
    found = asked(Aioli(step_size=50.0), 150, law_kt=law_kt)
    np.testing.assert_allclose([mixture for _, mixture in found], 0.05)


def test_a_long_run_that_is_asked_less_often_keeps_to_its_share():
    found = asked(Aioli(), 10_000, every=25)
    tries = sum(np.isclose(mixture.max(), 0.25 + 0.75 / 4) for _, mixture in found)
    assert 0.2 * 10_000 < 25 * tries <= 0.3 * 10_000


def test_it_goes_on_in_the_middle_of_a_sweep_as_if_it_had_not_stopped():
    class Stopped(Aioli):
        """Saved and loaded before every mixture."""

        def mixture(self, observation):
            state = json.loads(json.dumps(self.state_dict(), allow_nan=False))
            fresh = Aioli(rounds=3, step_size=3.0)
            fresh.load_state_dict(state)
            decision = fresh.mixture(observation)
            self.load_state_dict(json.loads(json.dumps(fresh.state_dict(), allow_nan=False)))
            return decision

    alone = asked(Aioli(rounds=3, step_size=3.0), 500)
    stopped = asked(Stopped(rounds=3, step_size=3.0), 500)
    for (_, expected), (_, found) in zip(alone, stopped, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_law_of_nothing_leaves_the_prior():
    found = asked(Aioli(rounds=1), 400, law_kt=np.zeros((4, 2)))
    np.testing.assert_allclose(found[-1][1], 0.25)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sweeps": 0}, "sweeps must be a whole number"),
        ({"segment_steps": 1.5}, "segment_steps must be a whole number"),
        ({"smoothing": 1.0}, "smoothing from 0 to below 1"),
        ({"share": 0.0}, "share above 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Aioli(**settings)
