"""Every task's own mixture: pulled where it is served, shared among likes, held by the prior."""

import json
from dataclasses import replace

import numpy as np
import pytest
from observations import impact_of, observation_of
from scipy.optimize import minimize

from dids.mixture.policy import make_policy
from dids.mixture.prior import leaning_prior
from dids.mixture.task_mixtures import common_part, diminished, net_pull, task_mixtures
from dids.mixture.task_reach import out_of_reach

PRIOR = np.array([0.4, 0.3, 0.2, 0.1])


def gram_of(seed, num_domains=4, num_tasks=2):
    rng = np.random.default_rng(seed)
    update = rng.normal(size=(num_domains, 3)) + 0.4
    fisher = rng.uniform(0.1, 2.0, size=(num_tasks, 3))
    return np.einsum("tp,kp,lp->tkl", fisher, update, update), rng


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("damping", [0.1, 1.0])
def test_it_equals_a_general_solver_on_the_written_formula(seed, damping):
    gram_tkk, rng = gram_of(seed)
    pull_kt = rng.normal(size=(4, 2))
    found = task_mixtures(gram_tkk, pull_kt, PRIOR, prior_vote=0.3, damping=damping)
    for gram, pull, mixture in zip(gram_tkk, pull_kt.T, found, strict=True):
        length = np.sqrt(np.diagonal(gram))
        cosine = np.clip(gram / np.outer(length, length), 0.0, 1.0)
        shift = max(0.0, 1e-6 - np.linalg.eigvalsh(cosine)[0])
        common = (cosine + shift * np.eye(4)) / (1.0 + shift) + damping * np.eye(4)
        solved = minimize(
            lambda q, common=common, pull=pull: 0.5 * q @ common @ q - (1 + damping) * pull @ q,
            np.full(4, 0.5),
            jac=lambda q, common=common, pull=pull: common @ q - (1 + damping) * pull,
            bounds=[(0.0, None)] * 4,
            tol=1e-14,
        )
        expected = solved.x + 0.3 * PRIOR
        np.testing.assert_allclose(mixture, expected / expected.sum(), atol=1e-5)


def test_a_domain_that_a_task_is_not_pulled_to_gets_its_part_of_the_prior_and_no_more():
    # Junk was drawn for its negative cosines, which cancelled what other domains do.
    gram_tkk, rng = gram_of(3)
    gram_tkk[:, 0, 1:] = gram_tkk[:, 1:, 0] = -0.9 * np.sqrt(
        gram_tkk[:, 0, 0][:, None] * np.diagonal(gram_tkk, axis1=1, axis2=2)[:, 1:]
    )
    pull_kt = np.abs(rng.normal(size=(4, 2)))
    pull_kt[0] = [0.0, -1.0]
    mixture_tk = task_mixtures(gram_tkk, pull_kt, PRIOR, prior_vote=0.5, damping=1.0)
    assert (mixture_tk[:, 0] < PRIOR[0]).all()
    others = mixture_tk[:, 1:] - PRIOR[1:] / PRIOR[0] * mixture_tk[:, :1]
    assert (others >= -1e-12).all()  # nobody has less of the prior than junk


def test_a_domain_without_a_pull_has_nothing_but_the_prior_in_any_problem():
    # Regression: scipy's nnls gave weight to such domains in 49 of 3,000 problems, junk among them.
    rng = np.random.default_rng(0)
    for _ in range(200):
        steps = rng.normal(size=(24, 40)) + rng.uniform(0.0, 1.5) * rng.normal(size=40)
        gram_tkk = (steps @ steps.T)[None]
        pull_kt = np.where(rng.uniform(size=(24, 1)) < 0.8, 0.0, rng.normal(size=(24, 1)))
        pull_kt[rng.uniform(size=24) < 0.2] *= 1e-12
        prior = np.full(24, 1 / 24)
        (mixture,) = task_mixtures(gram_tkk, pull_kt, prior, prior_vote=0.3, damping=1.0)
        without = mixture[pull_kt[:, 0] <= 0.0]
        np.testing.assert_allclose(without, mixture.min(), atol=1e-9)


def test_a_task_without_a_preference_spends_its_share_by_the_prior():
    gram_tkk, rng = gram_of(0)
    pull_kt = np.stack([np.zeros(4), -np.abs(rng.normal(size=4))], axis=1)
    found = task_mixtures(gram_tkk, pull_kt, PRIOR, prior_vote=0.5, damping=1.0)
    np.testing.assert_allclose(found, [PRIOR, PRIOR])


def test_the_more_a_task_is_pulled_the_less_is_left_for_the_prior():
    gram_tkk, _ = gram_of(0)
    of_junk = []
    for size in (0.0, 0.5, 2.0, 8.0):
        pull_kt = np.zeros((4, 2))
        pull_kt[1] = size
        found = task_mixtures(gram_tkk, pull_kt, PRIOR, prior_vote=0.5, damping=1.0)
        of_junk.append(found[0, 3])
        assert found[0, 3] == pytest.approx(0.5 * PRIOR[3] / (0.5 + size), rel=1e-5)
    assert sorted(of_junk, reverse=True) == of_junk


def test_copies_of_a_domain_share_what_one_would_get():
    # One domain of use, an unlike one of the same use, then a copy of the first.
    steps = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    gram_tkk = (steps @ steps.T)[None]
    pull_kt = np.array([[1.0], [1.0], [1.0]])
    settings = {"prior_vote": 1e-9, "damping": 0.0}
    alone = task_mixtures(gram_tkk[:, :2, :2], pull_kt[:2], np.ones(2) / 2, **settings)[0]
    copied = task_mixtures(gram_tkk, pull_kt, np.ones(3) / 3, **settings)[0]
    np.testing.assert_allclose(alone, [0.5, 0.5], atol=1e-5)
    np.testing.assert_allclose(copied, [0.25, 0.5, 0.25], atol=1e-5)
    unlike = task_mixtures(gram_tkk, pull_kt, np.ones(3) / 3, prior_vote=1e-9, damping=1e9)[0]
    np.testing.assert_allclose(unlike, np.ones(3) / 3, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_domains_that_a_task_is_not_pulled_to_change_nothing_for_the_others(seed):
    gram_tkk, rng = gram_of(seed, num_domains=9)
    signal_tk = 0.7 * np.diagonal(gram_tkk, axis1=1, axis2=2)
    pull_kt = np.abs(rng.normal(size=(9, 2)))
    pull_kt[5:] *= -1.0
    prior = np.full(9, 1.0 / 9.0)
    all_tk = task_mixtures(
        gram_tkk, pull_kt, prior, signal_tk=signal_tk, prior_vote=0.3, damping=1.0
    )
    few_tk = task_mixtures(
        gram_tkk[:, :5, :5], pull_kt[:5], np.full(5, 0.2),
        signal_tk=signal_tk[:, :5], prior_vote=1e-12, damping=1.0,
    )  # fmt: skip
    above_tk = all_tk - all_tk[:, 5:6]  # the last have the prior alone
    np.testing.assert_allclose(above_tk[:, 5:], 0.0, atol=1e-12)
    shares_tk = above_tk[:, :5] / above_tk[:, :5].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares_tk, few_tk, atol=1e-7)


def test_likeness_is_judged_without_the_noise_of_the_steps():
    # Two estimates of one step, half of each noise: the better served takes all, not two thirds.
    gram_tkk, pull_kt = np.array([[[2.0, 1.0], [1.0, 2.0]]]), np.array([[1.0], [0.8]])
    settings = {"prior_vote": 1e-9, "damping": 0.0}
    (noisy,) = task_mixtures(gram_tkk, pull_kt, np.ones(2) / 2, **settings)
    np.testing.assert_allclose(noisy, [2 / 3, 1 / 3], atol=1e-6)
    signal_tk = np.ones((1, 2))
    (exact,) = task_mixtures(gram_tkk, pull_kt, np.ones(2) / 2, signal_tk=signal_tk, **settings)
    np.testing.assert_allclose(exact, [1.0, 0.0], atol=1e-5)


def test_how_long_a_domains_step_is_does_not_matter():
    gram_tkk, rng = gram_of(1)
    pull_kt, scale = rng.normal(size=(4, 2)), np.array([0.01, 1.0, 30.0, 5.0])
    settings = {"prior_vote": 0.5, "damping": 0.5}
    np.testing.assert_allclose(
        task_mixtures(gram_tkk * np.outer(scale, scale), pull_kt, PRIOR, **settings),
        task_mixtures(gram_tkk, pull_kt, PRIOR, **settings),
        atol=1e-9,
    )


def test_a_domain_that_was_never_measured_is_like_no_other():
    gram_tkk, _ = gram_of(2)
    gram_tkk[:, 2] = gram_tkk[:, :, 2] = 0.0
    common_kk = common_part(gram_tkk[0])
    np.testing.assert_allclose(common_kk[2], np.eye(4)[2])
    assert np.linalg.eigvalsh(common_kk)[0] > 0


@pytest.mark.parametrize(("prior_vote", "damping"), [(0.0, 1.0), (0.5, -0.1), (float("nan"), 1.0)])
def test_settings_without_a_meaning_are_refused(prior_vote, damping):
    gram_tkk, _ = gram_of(0)
    with pytest.raises(ValueError, match="prior_vote must be above 0 and damping 0 or more"):
        task_mixtures(gram_tkk, np.ones((4, 2)), PRIOR, prior_vote=prior_vote, damping=damping)


def test_what_helps_one_task_and_harms_others_counts_for_what_is_left():
    # Domains that a weak preference asked for undid what two other tasks had learned.
    rng = np.random.default_rng(0)
    pull_kt, weight_t = rng.normal(size=(7, 3)), np.array([0.5, 0.3, 0.2])
    net_kt = net_pull(pull_kt, weight_t)
    for k, t in np.ndindex(pull_kt.shape):
        helped = sum(w * max(0.0, v) for w, v in zip(weight_t, pull_kt[k], strict=True))
        harmed = sum(w * max(0.0, -v) for w, v in zip(weight_t, pull_kt[k], strict=True))
        left = max(0.0, helped - harmed) / helped if helped else 0.0
        expected = pull_kt[k, t] * left if pull_kt[k, t] > 0 else pull_kt[k, t]
        assert net_kt[k, t] == pytest.approx(expected, abs=1e-12)
    harmless_kt = np.abs(pull_kt)
    np.testing.assert_allclose(net_pull(harmless_kt, weight_t), harmless_kt)


@pytest.mark.parametrize("returns", [0.0, 0.3, 0.5, 1.0])
def test_diminishing_returns_equal_their_formula(returns):
    mixture = np.array([0.1, 0.5, 0.3, 0.1])
    ratio = mixture / PRIOR  # 0.25, 1.67, 1.5, 1
    above = [0.0] + [
        p * (r - ratio[0]) ** returns for p, r in zip(PRIOR[1:], ratio[1:], strict=True)
    ]
    expected = ratio[0] * PRIOR + (1 - ratio[0]) * np.array(above) / sum(above)
    found = diminished(mixture, PRIOR, returns)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.sum() == pytest.approx(1.0)
    if returns == 1.0:
        np.testing.assert_allclose(found, mixture, atol=1e-12)


def test_a_domain_split_in_two_is_drawn_as_often_as_before():
    mixture = np.array([0.1, 0.5, 0.3, 0.1])
    halves = np.array([0.1, 0.25, 0.25, 0.3, 0.1]), np.array([0.4, 0.15, 0.15, 0.2, 0.1])
    whole, split = diminished(mixture, PRIOR, 0.5), diminished(*halves, 0.5)
    np.testing.assert_allclose(split[[0, 3, 4]], whole[[0, 2, 3]], atol=1e-12)
    assert split[1] + split[2] == pytest.approx(whole[1])


def test_a_mixture_that_is_the_prior_stays():
    np.testing.assert_allclose(diminished(PRIOR, PRIOR, 0.5), PRIOR)


def test_every_task_has_its_share_of_the_data_however_loud_another_is():
    # Two tasks want d0, one d1, one nothing that there is.
    target = [[1.0, 0.0, 0.0], [50.0, 0.0, 0.0], [0.0, 0.01, 0.0], [0.0, 0.0, 0.0]]
    impact = impact_of(np.eye(3).tolist(), target)
    seen = observation_of(
        impact=impact,
        task_losses={},
        task_weights=np.array([1.0, 1.0, 2.0, 4.0]),
        sizes_k=np.full(3, 100),
        draws_k=np.zeros(3, dtype=int),
        previous=np.ones(3) / 3,
        prior=np.ones(3) / 3,
        limits=observation_of().limits.with_floor(3, 0.0),
        progress=1.0,  # none waits any more
    )
    policy = make_policy("dids", ema=0.0, caution=0.0, prior_vote=1e-9, returns=1.0)
    decision = policy.mixture(seen)
    np.testing.assert_allclose(decision.mixture, [0.25 + 1 / 6, 0.25 + 1 / 6, 1 / 6], atol=1e-6)
    shares = decision.explanation["domains"]["d0"]["share"]
    np.testing.assert_allclose(list(shares.values()), [0.125, 0.125, 0.0, 1 / 6], atol=1e-6)


@pytest.mark.parametrize(
    ("start", "ramp", "progress", "said"),
    [
        (0.0, 0.8, 0.0, 0.0), (0.0, 0.8, 0.2, 0.25), (0.0, 0.8, 0.8, 1.0),
        (0.3, 0.4, 0.2, 0.0), (0.3, 0.4, 0.3, 0.0), (0.3, 0.4, 0.5, 0.5), (0.3, 0.4, 0.9, 1.0),
        (0.3, 0.0, 0.2, 0.0), (0.3, 0.0, 0.3, 1.0),
    ],
)  # fmt: skip
def test_tasks_that_are_out_of_reach_pass_from_the_prior_to_what_they_prefer(
    start, ramp, progress, said
):
    def wanted(**settings):
        seen = observation_of(progress=progress, limits=observation_of().limits.with_floor(4, 0.0))
        fixed = {"ema": 0.0, "caution": 0.0, "returns": 1.0, "reach": 0.0}
        return make_policy("dids", **fixed, **settings).mixture(seen).mixture

    prior, at_once = observation_of().prior, wanted(start=0.0, ramp=0.0)
    assert np.abs(at_once - prior).max() > 0.05
    expected = said * at_once + (1.0 - said) * prior
    np.testing.assert_allclose(wanted(start=start, ramp=ramp), expected, atol=1e-6)


def far_task(loudness):
    """One task that a domain comes near, one whose own step is so many times longer than any."""
    impact = impact_of(np.eye(3).tolist(), [[1.0, 0.0, 0.0], [0.0, loudness, 0.0]])
    return observation_of(
        impact=impact,
        task_losses={},
        progress=0.0,
        sizes_k=np.full(3, 100),
        draws_k=np.zeros(3, dtype=int),
        previous=np.ones(3) / 3,
        prior=np.ones(3) / 3,
        limits=observation_of().limits.with_floor(3, 0.0),
    )


PLAIN = {"ema": 0.0, "caution": 0.0, "prior_vote": 1e-9, "returns": 1.0}


def test_only_the_task_that_is_out_of_reach_waits():
    policy = make_policy("dids", **PLAIN, others_wait=0.0)
    first = policy.mixture(far_task(20.0))
    # A quarter of 20 squared is within reach: so much of the second share is spent already.
    prior_part = 0.5 * 0.75 / 3
    expected = [0.5 + prior_part, 0.125 + prior_part, prior_part]
    np.testing.assert_allclose(first.mixture, expected, atol=1e-6)
    waiting = {name: task["waiting"] for name, task in first.explanation["tasks"].items()}
    assert waiting == pytest.approx({"t0": 0.0, "t1": 0.75})
    # The first measurement says who waits, and a stopped run knows it.
    resumed = make_policy("dids", **PLAIN, others_wait=0.0)
    resumed.load_state_dict(json.loads(json.dumps(policy.state_dict())))
    for other in (policy, resumed):
        np.testing.assert_allclose(other.mixture(far_task(1.0)).mixture, expected, atol=1e-6)
    late = policy.mixture(replace(far_task(20.0), progress=0.7))
    np.testing.assert_allclose(late.mixture, [0.5, 0.5, 0.0], atol=1e-6)


def test_the_others_wait_by_a_part_of_what_the_farthest_waits():
    def decided(loudness, progress, **settings):
        seen = replace(far_task(loudness), progress=progress, num_steps=1000)
        return make_policy("dids", **PLAIN, **settings).mixture(seen)

    # The second task waits by three quarters, so the first by three eighths.
    first = decided(20.0, 0.0, others_wait=0.5)
    prior_part = (0.5 * 0.375 + 0.5 * 0.75) / 3
    expected = [0.5 * 0.625 + prior_part, 0.5 * 0.25 + prior_part, prior_part]
    np.testing.assert_allclose(first.mixture, expected, atol=1e-6)
    tasks = first.explanation["tasks"]
    assert [tasks[name]["waiting"] for name in ("t0", "t1")] == pytest.approx([0.375, 0.75])
    assert [tasks[name]["out_of_reach"] for name in ("t0", "t1")] == pytest.approx([0.0, 0.75])
    halfway = decided(20.0, 0.5, others_wait=0.5).explanation["tasks"]
    assert [halfway[name]["waiting"] for name in ("t0", "t1")] == pytest.approx([0.1875, 0.375])
    # Nobody waits where every task is near, or at the end.
    for loudness, progress in ((1.0, 0.0), (20.0, 0.7)):
        mixture = decided(loudness, progress, others_wait=1.0).mixture
        np.testing.assert_allclose(mixture, [0.5, 0.5, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    ("flops", "long_run", "part"),
    [(3e12, 12e12, 0.0625), (8e12, 8e12, 1.0), (9e20, 8e12, 1.0), (1.0, 0, 1.0), (None, 8e12, 1.0)],
)
def test_the_others_wait_the_less_the_shorter_a_run_is(flops, long_run, part):
    policy = make_policy("dids", **PLAIN, others_wait=0.5, long_run=long_run)
    tasks = policy.mixture(replace(far_task(20.0), training_flops=flops)).explanation["tasks"]
    assert tasks["t0"]["waiting"] == pytest.approx(part * 0.375)
    assert tasks["t1"]["waiting"] == pytest.approx(0.75)


def test_what_nobody_asks_for_goes_by_what_is_not_learnt_yet():
    """The second domain was never seen: it has the others' mean loss."""
    settings = {"ema": 0.0, "caution": 0.0, "returns": 1.0, "reach": 0.0, "start": 1.0}
    seen = observation_of(limits=observation_of().limits.with_floor(4, 0.0))
    loss_k = np.array([2.0, 13 / 6, 3.0, 1.5])
    policy = make_policy("dids", **settings, loss_weight=2.0)
    decision = policy.mixture(seen)  # all tasks wait
    expected = seen.prior * np.exp(2.0 * loss_k)
    np.testing.assert_allclose(decision.mixture, expected / expected.sum(), atol=1e-6)
    domains = decision.explanation["domains"]
    assert [domains[f"d{k}"]["loss"] for k in range(4)] == pytest.approx(loss_k.tolist())
    assert domains["d2"]["prior"] == pytest.approx(decision.mixture[2], abs=1e-6)
    # Losses stand until newer ones are seen, and a stopped run knows them.
    resumed = make_policy("dids", **settings, loss_weight=2.0)
    resumed.load_state_dict(json.loads(json.dumps(policy.state_dict())))
    for other in (policy, resumed):
        later = other.mixture(replace(seen, trained=None)).mixture
        np.testing.assert_allclose(later, decision.mixture, atol=1e-12)
    assert policy.needs.training_losses
    assert not make_policy("dids").needs.training_losses
    for loss_weight, trained in ((0.0, seen.trained), (2.0, None)):
        other = make_policy("dids", **settings, loss_weight=loss_weight)
        found = other.mixture(replace(seen, trained=trained)).mixture
        np.testing.assert_allclose(found, seen.prior, atol=1e-6)


def test_what_a_task_asks_for_is_beside_the_leaning_prior():
    def decided(prior_k, **changes):
        seen = replace(observation_of(), prior=prior_k, **changes)
        return make_policy("dids", start=0.0, ramp=0.0, loss_weight=1.0).mixture(seen).mixture

    prior_k = np.array([0.1, 0.2, 0.3, 0.4])
    leaning_k = leaning_prior(prior_k, np.array([2.0, 13 / 6, 3.0, 1.5]), 1.0)
    np.testing.assert_allclose(decided(prior_k), decided(leaning_k, trained=None), atol=1e-9)


def test_reach_is_measured_without_the_noise_of_estimates():
    impact = impact_of(np.eye(2).tolist(), [[30.0, 0.0], [30.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(out_of_reach(impact, 10.0), [8 / 9, 8 / 9, 0.0])
    np.testing.assert_allclose(out_of_reach(impact, 0.0), [1.0, 1.0, 0.0])
    # In all metrics but the Fisher one a task is as far as the root.
    in_steps = replace(impact, within="step")
    np.testing.assert_allclose(out_of_reach(in_steps, 100.0), [8 / 9, 8 / 9, 0.0])
    noisy = replace(
        impact,
        signal_tk=np.array([[1.0, 0.25], [-0.5, -0.1], [1.0, 1.0]]),
        target_signal_t=np.array([400.0, 400.0, -1.0]),
    )
    np.testing.assert_allclose(out_of_reach(noisy, 10.0), [0.75, 1.0, 0.0])
