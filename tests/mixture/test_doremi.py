import json
from pathlib import Path

import numpy as np
import pytest
from observations import observation_of

from dids.domains.regrouping import Regrouping
from dids.mixture.limits import MixtureLimits
from dids.mixture.needs import Needs, needs_of
from dids.mixture.policy import Searches, TrainedOn, Trial, make_policy

STEPS = 300
PRIOR = np.array([0.4, 0.3, 0.2, 0.1])
# What a proxy reaches on each domain, and how fast, in the share that it draws of it.
REACHED = np.array([2.0, 1.0, 3.0, 1.5])
SPEED = np.array([0.02, 0.05, 0.01, 0.08])


class MadeUpTrials:
    """A proxy whose loss on a domain falls with what it draws of it."""

    domain_names = ("d0", "d1", "d2", "d3")
    task_names = ("t0",)
    task_weights = np.ones(1)
    sizes_k = np.array([100, 200, 300, 400])
    prior = PRIOR
    limits = MixtureLimits.with_floor(4, 0.05)
    budget_tokens = 10**6
    seed = 0

    def __init__(self):
        self.curves, self.calls = {}, []

    def run(self, name, policy, *, model="proxy", budget=1.0, rounds=None, reference=None):
        self.calls.append((name, type(policy).__name__, model, budget, reference))
        drawn, mixtures, seen, curve = np.zeros(4), [], None, []
        mixture = self.prior
        for step in range(STEPS):
            mixture = policy.mixture(
                observation_of(
                    step=step, impact=None, previous=mixture, prior=self.prior,
                    limits=self.limits, trained=seen, num_steps=STEPS,
                )
            ).mixture  # fmt: skip
            loss = REACHED + 4.0 * np.exp(-SPEED * drawn)
            curve.append(loss)
            excess = None
            if needs_of(policy).reference:
                excess = np.maximum(loss - self.curves[reference.folder.name][-1], 0.0)
            seen = TrainedOn(np.full(4, 100.0), loss, excess)
            drawn = drawn + mixture
            mixtures.append(mixture)
        self.curves[name] = curve
        mean = np.mean(mixtures, axis=0)
        return Trial(Path(name), mean, {"t0": ((0, 1.0),)}, 10**6, 1.0)


def test_reference_and_proxy_are_trained_and_the_proxys_mean_mixture_is_held():
    trials, policy = MadeUpTrials(), make_policy("doremi", budget=0.5)
    assert isinstance(policy, Searches)
    policy.search(trials)
    (first, second) = trials.calls
    assert first[:4] == ("reference-1", "FoundMixture", "proxy", 0.5)
    assert second[:4] == ("proxy-1", "GroupDro", "proxy", 0.5)
    assert second[4].folder.name == "reference-1"
    found = policy.mixture(observation_of(limits=trials.limits)).mixture
    assert trials.limits.allows(found)
    # The domain that the reference had learnt and the proxy had not: the slow ones stay above it.
    np.testing.assert_allclose(found, policy.state_dict()["mixture"], atol=1e-9)
    assert found[1] > 0.25


def test_the_proxys_rule_costs_what_it_needs_and_the_run_itself_nothing():
    from dids.mixture.group_dro import GroupDro

    assert needs_of(GroupDro()) == Needs(every_steps=1, training_losses=True, reference=True)
    assert needs_of(make_policy("doremi")) == Needs()


def test_iterated_the_next_reference_is_trained_under_the_weights_found():
    trials, policy = MadeUpTrials(), make_policy("doremi", repeats=3)
    policy.search(trials)
    names = [call[0] for call in trials.calls]
    assert names == ["reference-1", "proxy-1", "reference-2", "proxy-2", "reference-3", "proxy-3"]
    assert len(set(names)) == len(names)


def test_iterations_end_when_no_weight_moves():
    class Settled(MadeUpTrials):
        def run(self, name, policy, **settings):
            trial = super().run(name, policy, **settings)
            return Trial(trial.folder, PRIOR + np.array([4e-4, -4e-4, 0, 0]), {}, 1, 1.0)

    trials, policy = Settled(), make_policy("doremi", repeats=5)
    policy.search(trials)
    assert len(trials.calls) == 2


def test_what_was_found_survives_and_moves_with_regrouped_domains():
    policy, resumed = make_policy("doremi"), make_policy("doremi")
    policy.search(MadeUpTrials())
    resumed.load_state_dict(json.loads(json.dumps(policy.state_dict(), allow_nan=False)))
    seen = observation_of()
    np.testing.assert_array_equal(policy.mixture(seen).mixture, resumed.mixture(seen).mixture)
    merged = np.array([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    regrouping = Regrouping(
        merged, merged / merged.sum(1, keepdims=True), tuple("abcd"), ("a", "b+c", "d")
    )
    before = np.array(resumed.state_dict()["mixture"])
    resumed.regroup(regrouping)
    after = resumed.state_dict()["mixture"]
    assert after == pytest.approx([before[0], before[1] + before[2], before[3]])
