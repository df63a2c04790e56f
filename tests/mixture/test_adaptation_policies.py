"""Policies after works on domain adaptation: by their formulas, and by what makes them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from observations import BRACKETS, FEATURES, features_of, observation_of

from dids.domains.regrouping import Regrouping
from dids.errors import InputError
from dids.mixture.feature_distance import domain_task_distances
from dids.mixture.limits import MixtureLimits
from dids.mixture.policies.strata import strata_by_gap
from dids.mixture.policy import FeatureSamples, TrainedOn, make_policy

FREE = MixtureLimits.with_floor(4, 0.0)
UNEVEN = np.array([0.4, 0.3, 0.2, 0.1])
FROM_FEATURES = ["osmosis", "strata", "anchors"]

TRAINED = TrainedOn(
    tokens_k=np.array([300.0, 300.0, 200.0, 200.0]),
    loss_k=np.array([1.0, 2.0, 3.0, 4.0]),
    confidence_k=np.array([0.8, 0.6, 0.4, 0.2]),
)


def seen(**changes):
    return observation_of(**{"impact": None, "limits": FREE, **changes})


def cosine_gaps(features, reference):
    means = [rows.mean(0) for rows in features.domains]
    return np.array(
        [1 - m @ reference / np.linalg.norm(m) / np.linalg.norm(reference) for m in means]
    )


def z(values):
    return (values - values.mean()) / values.std()


def permuted(features, order):
    return replace(features, domains=tuple(features.domains[k] for k in order))


# Of all that look at features.


@pytest.mark.parametrize("name", FROM_FEATURES)
def test_without_features_the_mixture_stays(name):
    decision = make_policy(name).mixture(seen(features=None, previous=UNEVEN))
    np.testing.assert_array_equal(decision.mixture, UNEVEN)
    assert "stays" in decision.explanation["note"]


@pytest.mark.parametrize("name", [*FROM_FEATURES, "distance-bandit"])
@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_domains_in_another_order_are_drawn_alike(name, progress):
    order = [2, 0, 3, 1]
    sizes = np.array([100, 200, 300, 400])
    plain = make_policy(name).mixture(seen(prior=UNEVEN, sizes_k=sizes, progress=progress))
    other = make_policy(name).mixture(
        seen(
            prior=UNEVEN[order],
            sizes_k=sizes[order],
            progress=progress,
            features=permuted(FEATURES, order),
        )
    )
    np.testing.assert_allclose(other.mixture, plain.mixture[order], atol=0.02)


@pytest.mark.parametrize("name", [*FROM_FEATURES, "distance-bandit"])
def test_a_domain_and_a_task_without_features_are_no_obstacle(name):
    none = np.zeros((0, 3))
    some = FeatureSamples((*FEATURES.domains[:3], none), (FEATURES.tasks[0], none), ("t0", "t1"))
    for features in (some, replace(some, tasks=(none, none))):
        mixture = make_policy(name).mixture(seen(features=features, progress=0.6)).mixture
        assert FREE.allows(mixture)
        assert np.isfinite(mixture).all()


@pytest.mark.parametrize("name", ["osmosis", "anchors"])
def test_in_the_end_domains_near_the_tasks_draw_most(name):
    mixture = make_policy(name).mixture(seen(progress=1.0)).mixture
    assert mixture[:2].min() > 0.25 > mixture[2:].max()


# Osmosis.


def test_osmosis_equals_its_formula():
    weights, progress = np.array([3.0, 1.0]), 0.3
    means = np.stack([rows.mean(0) for rows in FEATURES.domains])
    source = cosine_gaps(FEATURES, UNEVEN @ means)
    first, second = (cosine_gaps(FEATURES, rows.mean(0)) for rows in FEATURES.tasks)
    target = 0.75 * first + 0.25 * second
    start, end = (UNEVEN * np.exp(-z(gap) / 0.7) for gap in (source, target))
    passed = progress**2
    expected = (1 - passed) * start / start.sum() + passed * end / end.sum()
    decision = make_policy("osmosis", temperature=0.7, pace=2.0).mixture(
        seen(prior=UNEVEN, task_weights=weights, progress=progress)
    )
    np.testing.assert_allclose(decision.mixture, expected, atol=1e-9)
    assert decision.explanation["passed"] == pytest.approx(0.09)


def test_osmosis_passes_at_one_pace_from_one_end_to_the_other():
    start, middle, end = (
        make_policy("osmosis").mixture(seen(progress=progress)).mixture
        for progress in (0.0, 0.5, 1.0)
    )
    np.testing.assert_allclose(middle, (start + end) / 2)
    assert np.abs(start - end).max() > 0.05


# Strata.


def test_strata_are_drawn_one_after_another_beside_the_prior():
    policy, sizes = make_policy("strata", num_strata=4, share=0.6), np.full(4, 100)
    means = np.stack([rows.mean(0) for rows in FEATURES.domains])
    source = cosine_gaps(FEATURES, UNEVEN @ means)
    target = np.mean([cosine_gaps(FEATURES, rows.mean(0)) for rows in FEATURES.tasks], axis=0)
    gap = (1 + 0.7**2) * source * target / (0.7**2 * source + target)
    for stage, domain in enumerate(np.argsort(gap)):
        for progress in (stage / 4, stage / 4 + 0.2):
            mixture = policy.mixture(seen(prior=UNEVEN, sizes_k=sizes, progress=progress)).mixture
            np.testing.assert_allclose(mixture, 0.4 * UNEVEN + 0.6 * np.eye(4)[domain], atol=1e-9)
    last = policy.mixture(seen(prior=UNEVEN, sizes_k=sizes, progress=1.0)).mixture
    np.testing.assert_allclose(last, mixture)


@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=30), st.integers(1, 8), st.integers(0, 99)
)
def test_strata_hold_about_equally_many_samples_in_the_order_of_the_gaps(sizes, num_strata, seed):
    sizes = np.array(sizes)
    gap = np.random.default_rng(seed).random(len(sizes))
    stratum = strata_by_gap(gap, sizes, num_strata)
    assert (np.diff(stratum[np.argsort(gap)]) >= 0).all()
    assert set(stratum) == set(range(stratum.max() + 1))
    assert stratum.max() < num_strata
    per_stratum = np.bincount(stratum, weights=sizes)
    assert per_stratum.max() <= sizes.sum() / num_strata + sizes.max()


def test_a_stratum_that_the_prior_leaves_out_is_the_prior():
    policy = make_policy("strata", num_strata=4)
    for progress in (0.0, 0.3, 0.6, 0.9):
        prior = np.array([1.0, 0.0, 0.0, 0.0])
        np.testing.assert_allclose(
            policy.mixture(seen(prior=prior, progress=progress)).mixture, prior, atol=1e-9
        )


# Anchors.


def test_a_tasks_rare_kind_is_served_by_its_domain():
    # Most of the task is like domain 0, a tenth like domain 2; the mean of all is near 0 alone.
    domains = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    many = features_of([], [domains[0]], num_samples=36, noise=0.05).tasks[0]
    few = features_of([], [domains[2]], num_samples=4, noise=0.05, seed=1).tasks[0]
    features = replace(
        features_of(domains, [domains[0]], noise=0.05), tasks=(np.concatenate([many, few]),)
    )
    task = {"features": features, "task_weights": np.ones(1), "task_losses": {}}
    mixture = make_policy("anchors", num_anchors=2, novel=0.0).mixture(seen(**task)).mixture
    assert mixture[0] > mixture[2] > mixture[[1, 3]].max() + 0.1
    # By samples to the power of 1/2: 6 to 2.
    share = np.exp(math.sqrt(3) / 0.5)
    one = share / (share + 3 * np.exp(-1 / math.sqrt(3) / 0.5))
    np.testing.assert_allclose(mixture[0], 0.75 * one + 0.25 * (1 - one) / 3, atol=0.03)
    by_samples, alike = (
        make_policy("anchors", num_anchors=2, novel=0.0, tail=tail).mixture(seen(**task)).mixture
        for tail in (1.0, 0.0)
    )
    assert by_samples[2] < mixture[2] < alike[2]
    np.testing.assert_allclose(alike[0], alike[2], atol=0.02)
    single = make_policy("anchors", num_anchors=1, novel=0.0).mixture(seen(**task)).mixture
    assert single[2] < by_samples[2]


def test_what_is_far_from_all_anchors_gets_its_part():
    domains = [[1, 0, 0], [1, 0.1, 0], [1, -0.1, 0], [0, 0, 1]]
    features = features_of(domains, [[1, 0, 0]], noise=0.02)
    task = {"features": features, "task_weights": np.ones(1), "task_losses": {}}
    without, half = (
        make_policy("anchors", num_anchors=1, novel=novel).mixture(seen(**task)).mixture
        for novel in (0.0, 0.5)
    )
    assert without[3] < 0.02
    assert half[3] > 0.4


def test_sizes_of_domains_do_not_count():
    large, small = (
        make_policy("anchors").mixture(seen(sizes_k=np.array(sizes))).mixture
        for sizes in ([1000, 10, 10, 10], [10, 1000, 10, 10])
    )
    np.testing.assert_array_equal(large, small)


# Confidence.


def test_confidence_equals_its_formula_over_rounds():
    policy = make_policy("confidence", temperature=0.3, momentum=0.75)
    score = None
    for number, progress in enumerate((0.0, 0.4, 1.0)):
        now = np.array([0.8, 0.6, 0.4, 0.2]) + 0.05 * number
        if number == 1:
            now[2] = np.nan  # not drawn
        trained = replace(TRAINED, confidence_k=now)
        mixture = policy.mixture(seen(trained=trained, prior=UNEVEN, progress=progress)).mixture
        before = now if score is None else score
        score = np.where(np.isnan(now), before, 0.75 * before + 0.25 * now)
        ramp = math.exp(-5 * (1 - progress) ** 2)
        unsure = UNEVEN * np.exp((1 - score) / 0.3)
        expected = (1 - ramp) * UNEVEN + ramp * unsure / unsure.sum()
        np.testing.assert_allclose(mixture, expected, atol=1e-9)


def test_domains_that_were_never_drawn_count_as_the_others_mean():
    trained = replace(TRAINED, confidence_k=np.array([0.9, 0.5, np.nan, np.nan]))
    mixture = make_policy("confidence").mixture(seen(trained=trained, progress=1.0)).mixture
    assert mixture[0] < mixture[2] < mixture[1]
    assert mixture[2] == pytest.approx(mixture[3])


@pytest.mark.parametrize("trained", [None, replace(TRAINED, confidence_k=None)])
def test_before_training_the_prior_holds(trained):
    decision = make_policy("confidence").mixture(seen(trained=trained, prior=UNEVEN))
    np.testing.assert_array_equal(decision.mixture, UNEVEN)


def test_scores_follow_samples_into_other_domains():
    policy = make_policy("confidence")
    policy.mixture(seen(trained=replace(TRAINED, confidence_k=np.array([0.8, 0.6, 0.4, 0.2]))))
    origin = np.array([[1.0, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1.0], [0, 0, 0, 0]])
    passed = np.array([[1.0, 0, 0, 0], [0, 1.0, 1.0, 0], [0, 0, 0, 1.0], [0, 0, 0, 0]])
    policy.regroup(Regrouping(passed, origin, tuple("abcd"), tuple("wxyz")))
    assert policy.state_dict()["values"] == pytest.approx([0.8, 0.5, 0.2, None])


# Commute.


def round_of(policy, *, num_steps, began, every, prior=UNEVEN, brackets=BRACKETS):
    """The mixtures of a round's steps, asked for at its start and at multiples of ``every``."""
    common = {"round": 2, "prior": prior, "num_steps": 4 * num_steps, "horizon_tokens": 1000}
    mixtures = []
    for step in range(began, began + num_steps):
        if step == began or step % every == 0:
            decision = policy.mixture(
                seen(
                    **common,
                    step=step,
                    tokens=1000 + (step - began) * 1000 // num_steps,
                    progress=0.25 + 0.25 * (step - began) / num_steps,
                    brackets_kk=brackets if step == began else None,
                )
            )
        mixtures.append(decision.mixture)
    return np.stack(mixtures)


@pytest.mark.parametrize(("num_steps", "began"), [(16, 16), (20, 20), (23, 23), (17, 30)])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_over_a_round_as_a_whole_the_order_changes_no_share(num_steps, began, strength):
    policy = make_policy("commute", strength=strength)
    mixtures = round_of(policy, num_steps=num_steps, began=began, every=4)
    np.testing.assert_allclose(mixtures.sum(1), 1.0)
    np.testing.assert_allclose(mixtures.mean(0), UNEVEN, atol=1e-9)


def test_the_domain_that_should_come_first_does():
    mixtures = round_of(make_policy("commute"), num_steps=20, began=20, every=4)
    score = BRACKETS @ UNEVEN
    precedence = score / np.abs(score).max()
    for block in range(5):
        place = (2 * block + 1) / 5 - 1
        np.testing.assert_allclose(
            mixtures[4 * block : 4 * block + 4], [UNEVEN * (1 - place * precedence)] * 4
        )
    assert (np.diff(mixtures[::4, 0]) < 0).all()
    assert (np.diff(mixtures[::4, 2]) > 0).all()
    np.testing.assert_allclose(mixtures[:, 3], UNEVEN[3])  # it commutes with all others


def test_the_matrix_is_in_the_explanation_once_a_round():
    policy = make_policy("commute")
    first = policy.mixture(seen(round=1, step=10))
    later = policy.mixture(seen(round=1, step=12, brackets_kk=None))
    assert first.explanation["brackets"] == BRACKETS.tolist()
    assert "brackets" not in later.explanation
    assert later.explanation["precedence"] == first.explanation["precedence"]


def test_brackets_of_rounds_are_averaged():
    policy = make_policy("commute", memory=0.75)
    policy.mixture(seen(round=1))
    second = policy.mixture(seen(round=2, brackets_kk=-3 * BRACKETS))
    np.testing.assert_allclose(second.explanation["brackets"], 0.0)
    np.testing.assert_allclose(second.mixture, 0.25)


def test_before_brackets_are_known_the_prior_holds_in_its_own_order():
    decision = make_policy("commute").mixture(seen(brackets_kk=None, prior=UNEVEN, round=0))
    np.testing.assert_array_equal(decision.mixture, UNEVEN)


def test_brackets_follow_samples_into_other_domains():
    policy = make_policy("commute")
    policy.mixture(seen())
    origin = np.array([[0.5, 0.5, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 0.0]])
    policy.regroup(Regrouping((origin > 0) / 1.0, origin, tuple("abcd"), tuple("xyz")))
    bracket = np.array(policy.state_dict()["brackets"])
    np.testing.assert_allclose(bracket, [[0, 1.5, 0], [-1.5, 0, 0], [0, 0, 0]])


# The bandit.


class World:
    """Every domain lowers the tasks' losses by an amount of its own a step."""

    def __init__(self, gain_k, noise=0.0):
        self.gain_k, self.noise = np.array(gain_k), noise
        self.loss = 5.0
        self.rng = np.random.default_rng(0)
        self.losses = {"t0": [(0, self.loss)], "t1": [(0, self.loss)]}

    @property
    def seen(self):
        return {"task_losses": self.losses, "tokens": self.losses["t0"][-1][0]}

    def train(self, mixture_k):
        drop = float(mixture_k @ self.gain_k) + self.noise * self.rng.normal()
        self.loss *= 1.0 - drop
        for points in self.losses.values():
            points.append((points[-1][0] + 100, self.loss))


def drawn_by(policy, world, num_steps, **changes):
    mixtures = []
    for _ in range(num_steps):
        mixture = policy.mixture(seen(**world.seen, **changes)).mixture
        world.train(mixture)
        mixtures.append(mixture)
    return np.stack(mixtures)


@pytest.mark.parametrize("chooser", ["ucb", "thompson"])
def test_the_bandit_comes_to_draw_what_helps_most_whatever_the_distances_say(chooser):
    # Features say domain 0 or 1; what helps is 2.
    world = World([0.0, 0.0, 0.002, 0.0], noise=2e-4)
    policy = make_policy("distance-bandit", chooser=chooser)
    mixtures = drawn_by(policy, world, 200)
    assert mixtures[:4, 2].sum() <= 2
    assert mixtures[100:, 2].mean() > 0.5


@pytest.mark.parametrize("distance", ["cosine", "mmd", "coral", "fisher", "mix"])
def test_the_bandit_begins_with_the_nearest_domain(distance):
    decision = make_policy("distance-bandit", distance=distance).mixture(seen())
    nearest = domain_task_distances(FEATURES, distance).mean(1).argmin()
    np.testing.assert_array_equal(decision.mixture, np.eye(4)[nearest])
    assert decision.explanation["chosen"] == nearest


def test_the_bandits_values_and_choices_equal_their_formulas():
    policy = make_policy("distance-bandit", exploration=0.7, rate=0.3)
    world, arm = World([1e-3, 0, 0, 0]), None
    distance = domain_task_distances(FEATURES, "mix").mean(1)
    value, pulls, arm = -z(distance), np.ones(4), 0
    usual = None
    for _ in range(30):
        decision = policy.mixture(seen(**world.seen))
        if (drop := decision.explanation["drop"]) is not None:
            losses = [points[-2:] for points in world.losses.values()]
            assert drop == pytest.approx(np.mean([1 - b[1] / a[1] for a, b in losses]))
            if usual is None:
                reward, usual = 0.0, (drop, abs(drop))
            else:
                size = 0.9 * usual[1] + 0.1 * abs(drop - usual[0])
                reward = np.clip((drop - usual[0]) / size, -3, 3)
                usual = (0.9 * usual[0] + 0.1 * drop, size)
            pulls[arm] += 1
            value[arm] += max(1 / pulls[arm], 0.3) * (reward - value[arm])
        arm = int((value + 0.7 * np.sqrt(np.log(pulls.sum()) / pulls)).argmax())
        assert decision.explanation["chosen"] == arm
        np.testing.assert_allclose(decision.explanation["value"], value)
        world.train(decision.mixture)


def test_the_rest_of_the_draw_stays_with_the_prior():
    mixture = make_policy("distance-bandit", share=0.25).mixture(seen(prior=UNEVEN)).mixture
    extra = mixture - 0.75 * UNEVEN
    np.testing.assert_allclose(np.sort(extra), [0, 0, 0, 0.25], atol=1e-12)


def test_without_features_and_losses_the_bandit_still_chooses():
    policy = make_policy("distance-bandit")
    chosen = {
        policy.mixture(seen(features=None, task_losses={})).explanation["chosen"] for _ in range(3)
    }
    assert chosen == {0}  # nothing is learned where nothing is measured


def test_after_a_regrouping_no_domain_is_credited_with_what_another_did():
    policy, world = make_policy("distance-bandit"), World([1e-3, 0, 0, 0])
    drawn_by(policy, world, 5)
    value = np.array(policy.state_dict()["value"])
    origin = np.eye(4)[[1, 0, 2, 3]]
    policy.regroup(Regrouping(origin, origin, tuple("abcd"), tuple("badc")))
    decision = policy.mixture(seen(**world.seen))
    np.testing.assert_allclose(decision.explanation["value"], value[[1, 0, 2, 3]])


# All of them.


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("distance-bandit", {"distance": "euclid"}, "distance must be cosine, mmd, coral"),
        ("distance-bandit", {"chooser": "greedy"}, "chooser must be ucb or thompson"),
        ("distance-bandit", {"rate": 0.0}, "rate must be above 0"),
        ("distance-bandit", {"every_steps": 0}, "every_steps 1 or more"),
        ("commute", {"strength": 1.5}, "strength must be from 0 to 1"),
        ("commute", {"every_steps": 0}, "every_steps must be 1 or more"),
        ("commute", {"memory": 1.0}, "memory must be from 0 to below 1"),
        ("confidence", {"temperature": 0.0}, "temperature must be above 0"),
        ("confidence", {"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ("osmosis", {"pace": 0.0}, "temperature and pace must be above 0"),
        ("strata", {"num_strata": 0}, "num_strata must be 1 or more"),
        ("strata", {"beta": 0.0}, "beta must be above 0"),
        ("strata", {"share": 2.0}, "share must be from 0 to 1"),
        ("anchors", {"num_anchors": 0}, "num_anchors must be 1 or more"),
        ("anchors", {"temperature": -1.0}, "temperature must be above 0"),
        ("anchors", {"novel": 2.0}, "tail and novel must be from 0 to 1"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(name, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        make_policy(name, **settings)


@pytest.mark.parametrize(
    "name",
    ["regmix", "best-fixed", "distance-bandit", "commute", "confidence", *FROM_FEATURES],
)
def test_settings_that_a_contest_tries_begin_with_the_defaults_and_can_be_made(name):
    searched = type(make_policy(name)).searched
    assert searched[0] == {}
    assert len(searched) == (1 if name == "best-fixed" else 3)
    for settings in searched:
        make_policy(name, **settings)


@pytest.mark.parametrize("name", ["distance-bandit", "commute", "confidence"])
def test_three_thousand_askings_end_in_finite_numbers(name):
    policy, rng = make_policy(name), np.random.default_rng(0)
    losses = {"t0": [(0, 5.0)], "t1": [(0, 5.0)]}
    for number in range(3000):
        for points in losses.values():
            points.append((number, float(5.0 * np.exp(rng.normal()))))
        scale = 10.0 ** rng.integers(-200, 200)
        decision = policy.mixture(
            seen(
                round=number,
                progress=number / 3000,
                tokens=number,
                task_losses={task: points[-2:] for task, points in losses.items()},
                brackets_kk=scale * BRACKETS,
                trained=replace(TRAINED, confidence_k=rng.random(4)),
            )
        )
    assert np.isfinite(decision.mixture).all()
    assert FREE.allows(decision.mixture)
