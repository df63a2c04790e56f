"""Skill-It: the graph that trials show, and the mixture that follows from it and the losses."""

import json

import numpy as np
import pytest
from made_up_trials import MadeUpTrials
from observations import observation_of

from dids.mixture.limits import MixtureLimits
from dids.mixture.policies.skill_it import SkillIt

# What a whole run on each domain alone would do for each task; the last one harms the second.
DROP_KT = np.array([[2.0, 0.0], [0.4, 1.2], [0.0, 0.0], [0.8, -0.8]])
LOSSES = {"t0": [(0, 4.0), (1, 3.0), (2, 2.0), (3, 1.5)], "t1": [(0, 4.0), (1, 3.5), (2, 3.2)]}
LOSSES["t1"].append((3, 3.0))


def searched(trials=None, **settings):
    policy = SkillIt(**settings)
    policy.search(trials or MadeUpTrials(DROP_KT))
    return policy


def seen(**changes):
    free = MixtureLimits.with_floor(4, 0.0)
    return observation_of(**{"impact": None, "limits": free, "task_losses": LOSSES, **changes})


def test_every_domain_is_tried_alone_for_its_part_of_the_budget():
    trials = MadeUpTrials(DROP_KT)
    policy = searched(trials, budget=2.0)
    expected = [
        {"name": f"alone-{k}", "model": "proxy", "budget": 0.5, "rounds": 1} for k in range(4)
    ]
    assert trials.asked == expected
    graph = np.maximum(0.5 * DROP_KT, 0.0) / 4.0
    np.testing.assert_allclose(policy.state_dict()["graph"], graph)


@pytest.mark.parametrize(("relative", "unit"), [(True, 4.0), (False, 1.0)])
@pytest.mark.parametrize("window", [1, 3])
def test_the_mixture_equals_its_formula(relative, unit, window):
    policy = searched(speed=0.3, window=window, relative=relative)
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    found = policy.mixture(seen(prior=prior, task_weights=np.array([3.0, 1.0]))).mixture
    graph = np.maximum(0.25 * DROP_KT, 0.0) / unit
    exponent = np.zeros(4)
    for task, weight in enumerate([1.5, 0.5]):
        for _, loss in LOSSES[f"t{task}"][-window:]:
            exponent += 0.3 * weight * graph[:, task] * loss
    expected = prior * np.exp(exponent)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)


def test_before_any_loss_it_is_the_softmax_of_the_graph():
    found = searched(speed=2.0).mixture(seen(task_losses={})).mixture
    expected = np.exp(2.0 * (np.maximum(0.25 * DROP_KT, 0.0) / 4.0).sum(1))
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)


def test_a_task_that_is_done_is_no_reason_to_draw_what_helps_it():
    nearly = {"t0": [(0, 0.01)] * 3, "t1": [(0, 4.0)] * 3}
    policy = searched(speed=5.0)
    found = policy.mixture(seen(task_losses=nearly)).mixture
    assert found.argmax() == 1
    assert policy.mixture(seen()).mixture[0] > found[0]


def test_what_helps_every_task_alike_leaves_the_prior():
    policy = searched(MadeUpTrials(np.ones((4, 2))))
    np.testing.assert_allclose(policy.mixture(seen()).mixture, 0.25)


def test_what_was_found_is_kept_and_without_it_the_prior_holds():
    policy, again = searched(), SkillIt()
    again.load_state_dict(json.loads(json.dumps(policy.state_dict())))
    np.testing.assert_array_equal(policy.mixture(seen()).mixture, again.mixture(seen()).mixture)
    decision = SkillIt().mixture(seen())
    np.testing.assert_allclose(decision.mixture, 0.25)
    assert "no search" in decision.explanation["note"]


def test_huge_losses_do_not_overflow():
    huge = {"t0": [(0, 1e8)], "t1": [(0, 1e8)]}
    assert np.isfinite(searched(speed=10.0).mixture(seen(task_losses=huge)).mixture).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"budget": 0.0}, "budget must be above 0, but it is 0.0"),
        ({"window": 0}, "window must be a number of looks, but it is 0"),
        ({"window": 1.5}, "window must be a number of looks, but it is 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        SkillIt(**settings)
