"""What policies have learnt of domains goes where the domains' samples go."""

import json

import numpy as np
import pytest
from made_up_trials import MadeUpTrials
from observations import impact_of, observation_of

from dids.domains.regrouping import Regrouping
from dids.mixture.found_mixture import FoundMixture
from dids.mixture.limits import MixtureLimits
from dids.mixture.policies.aioli import Aioli
from dids.mixture.policies.dga import Dga
from dids.mixture.policies.doge import Doge, DogeOnline
from dids.mixture.policies.skill_it import SkillIt

# The first of four domains is split, the next two are merged, the last stays, a fifth is new.
BEFORE, NOW = np.repeat([0, 1, 2, 3], 4), np.array([0, 0, 0, 1, *[2] * 8, *[3] * 4, *[4] * 4])
REGROUPING = Regrouping.between(
    BEFORE, NOW, np.ones(len(NOW), dtype=int), "abcd", ["a/0", "a/1", "bc", "d", "new"]
)
PRIOR = np.array([0.15, 0.05, 0.4, 0.2, 0.2])


def seen(step, num_domains, **changes):
    rng = np.random.default_rng(step)
    prior = np.full(4, 0.25) if num_domains == 4 else PRIOR
    settings = {
        "step": step,
        "num_steps": 400,
        "impact": impact_of(rng.normal(size=(num_domains, 3)), rng.normal(size=(2, 3))),
        "sizes_k": np.full(num_domains, 100),
        "draws_k": np.full(num_domains, 10 * step),
        "previous": prior,
        "prior": prior,
        "limits": MixtureLimits.with_floor(num_domains, 0.1),
    }
    return observation_of(**{**settings, **changes})


@pytest.mark.parametrize("policy", [DogeOnline(mu=0.001), Dga(), Aioli(), SkillIt(), Doge()])
def test_they_go_on_with_other_domains(policy):
    if hasattr(policy, "search"):
        policy.search(MadeUpTrials(np.random.default_rng(0).random((4, 2))))
    for step in (4, 8, 12):
        policy.mixture(seen(step, 4))
    policy.regroup(REGROUPING)
    for step in (16, 20, 24):
        next_seen = seen(step, 5)
        assert next_seen.limits.allows(policy.mixture(next_seen).mixture)
    json.dumps(policy.state_dict(), allow_nan=False)


@pytest.mark.parametrize("policy", [DogeOnline(mu=0.001), Dga(ema=0.0)])
def test_parts_of_a_domain_share_its_weight_by_the_prior(policy):
    gradient = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.5, 0.5, 0]])
    impact = impact_of(gradient, [[1.0, 0.2, 0], [1.0, 0.4, 0]])
    before = seen(10, 4, impact=impact, limits=MixtureLimits.with_floor(4, 0.0))
    shares = policy.mixture(before).mixture
    policy.regroup(REGROUPING)
    nothing = impact_of(np.zeros((5, 3)), np.zeros((2, 3)))
    found = policy.mixture(seen(20, 5, impact=nothing, limits=MixtureLimits.with_floor(5, 0.0)))
    assert found.mixture[0] / found.mixture[1] == pytest.approx(3.0)
    # As before, the split domain beside the one that was left alone, in units of their priors.
    ratio = (found.mixture[:2].sum() / 0.2) / (found.mixture[3] / 0.2)
    assert ratio == pytest.approx(shares[0] / shares[3], rel=1e-6)


def test_a_found_mixtures_weights_go_where_the_samples_go():
    policy = FoundMixture(np.array([0.4, 0.3, 0.2, 0.1]))
    policy.regroup(REGROUPING)
    found = policy.mixture(seen(1, 5, limits=MixtureLimits.with_floor(5, 0.0))).mixture
    np.testing.assert_allclose(found, [0.3, 0.1, 0.5, 0.1, 0.0])
