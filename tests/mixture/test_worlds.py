"""Policies in worlds whose best mixture is known; the worlds themselves are right."""

import numpy as np
import pytest
from scipy.optimize import brentq

from benchmarks.worlds.best_mixture import best_mixture, searched_mixture, solved_mixture
from benchmarks.worlds.outcome import CONTENDERS, Contender, Yardstick, world_row
from benchmarks.worlds.policy_run import policy_run
from benchmarks.worlds.quadratic_cases import QUADRATIC
from benchmarks.worlds.quadratic_world import QuadraticWorld
from benchmarks.worlds.softmax_cases import SOFTMAX
from benchmarks.worlds.table import gap_table, loss_table, worst_task_table
from benchmarks.worlds.world import UNLIMITED, Budget, losses_of_fixed, trained
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import make_policy
from dids.mixture.saturation import REPEATS_HALFLIFE, fresh_passes

BUDGET = Budget()
SHORT = Budget(num_rounds=4, steps=10)
SEEDS = range(3)


def run(world, name, metric="fisher", seed=0, budget=BUDGET):
    limits = MixtureLimits.with_floor(len(world.domain_names), 0.25)
    return policy_run(world, budget, make_policy(name), limits, seed, metric)


@pytest.fixture(scope="module")
def closed():
    """Gap closed and worst task's gain: by world and contender, a mean over seeds."""
    found = {}

    def of(world, name, metric="fisher"):
        if world not in found:
            found[world] = [Yardstick.of(QUADRATIC[world](seed), BUDGET) for seed in SEEDS]
        losses = [
            run(seen.world, name, metric, seed).losses_t
            for seed, seen in zip(SEEDS, found[world], strict=True)
        ]
        pairs = list(zip(found[world], losses, strict=True))
        return np.mean([seen.gap_closed(losses_t) for seen, losses_t in pairs])

    return of


@pytest.mark.parametrize("case", ["matched", "duplicated", "useless", "harmful"])
def test_going_downhill_in_the_plain_metric_comes_within_five_percent(closed, case):
    # Measured: 95, 98, 98 and 96 %.
    assert closed(case, "dids-descent", "plain") >= 0.93


@pytest.mark.parametrize(
    ("case", "least"),
    # Measured: 80, 80, 76 and 84 %. Not within five: tasks that need other shares than equal ones.
    [("matched", 0.85), ("complementary", 0.65), ("scarce", 0.65), ("everything", 0.7)],
)
def test_the_default_policy_closes_most_of_the_gap(closed, case, least):
    assert closed(case, "dids") >= least


def test_more_evidence_and_more_rounds_bring_the_optimum_nearer():
    more = Budget(num_rounds=50, steps=4, task_samples=256)
    gaps = []
    for budget in (BUDGET, more):
        seen = Yardstick.of(QUADRATIC["noise × 4"](0), budget)
        losses_t = run(seen.world, "dids-descent", "plain", budget=budget).losses_t
        gaps.append(seen.gap_closed(losses_t))
    assert gaps[1] > max(gaps[0], 0.93)


@pytest.mark.parametrize("name", ["dids", "dids-descent"])
def test_copies_of_a_domain_share_their_weight_to_within_noise(name):
    copies = [0, 3, 4, 5]  # the first task's domain and its three copies
    share_sc = np.stack(
        [run(QUADRATIC["duplicated"](seed), name, seed=seed).mixture_rk.mean(0) for seed in SEEDS]
    )
    of_copies_sc = share_sc[:, copies]
    assert 0.15 < of_copies_sc.sum(1).mean() < 0.65
    # No copy is preferred over seeds, and none takes all on any.
    np.testing.assert_allclose(of_copies_sc.mean(0), of_copies_sc.mean(), rtol=0.5)
    assert (of_copies_sc.max(1) < 0.75 * of_copies_sc.sum(1)).all()


@pytest.mark.parametrize("case", ["useless", "harmful"])
@pytest.mark.parametrize("name", ["dids", "dids-descent"])
def test_useless_and_harmful_domains_end_near_their_floor(name, case):
    world = QUADRATIC[case](1)
    last_k = run(world, name).mixture_rk[-1]
    floor = 0.25 / len(last_k)
    assert last_k[3:].max() < 2.0 * floor
    assert last_k[:3].min() > 2.0 * floor


def test_a_scarce_domain_gives_way_to_the_second_best():
    small = QUADRATIC["scarce"](0)
    mixture_rk = run(small, "dids").mixture_rk
    assert small.domain_names[3] == "second best"
    assert mixture_rk[-5:, 3].mean() > mixture_rk[:5, 3].mean()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_search_finds_what_the_convex_problem_solves(seed):
    world, limits = QUADRATIC["matched"](seed), MixtureLimits.with_floor(6, 0.25)
    solved = solved_mixture(world, BUDGET, limits)
    np.testing.assert_allclose(best_mixture(world, BUDGET, limits), solved)
    searched = searched_mixture(world, BUDGET, limits)
    loss_m = losses_of_fixed(world, BUDGET, np.stack([solved, searched])).mean(1)
    assert loss_m[1] == pytest.approx(loss_m[0], abs=1e-5)


@pytest.mark.parametrize("cases", [QUADRATIC, SOFTMAX], ids=["quadratic", "softmax"])
@pytest.mark.parametrize("name", ["complementary", "scarce", "everything"])
def test_no_random_mixture_is_better_than_the_best(cases, name):
    world = cases[name](0)
    number = len(world.domain_names)
    limits = MixtureLimits.with_floor(number, 0.25)
    best = best_mixture(world, SHORT, limits)
    random_mk = 0.25 / number + 0.75 * np.random.default_rng(0).dirichlet(np.ones(number), 40)
    near_mk = 0.9 * best + 0.1 * random_mk
    loss_m = losses_of_fixed(world, SHORT, np.vstack([best, random_mk, near_mk])).mean(1)
    assert loss_m[0] <= loss_m[1:].min() + 1e-6


def pulling_world(reach, sizes):
    """Domains without curvature, each alone with a goal that is far away."""
    number = len(sizes)
    return QuadraticWorld(
        domain_names=tuple(f"d{k}" for k in range(number)),
        sizes_k=np.array(sizes),
        start_p=np.zeros(number),
        step_p=np.ones(number),
        curvature_kp=np.zeros((number, number)),
        force_kp=np.eye(number),
        task_curvature_tp=np.ones((1, number)),
        goal_tp=np.full((1, number), reach),
        noise=1.0,
    )


def test_scarce_domains_follow_the_law_of_repetition():
    # A domain that pulls the same way for ever goes as far as its samples are worth: n fresh ones,
    # then R* (1 - exp(-R / R*)) passes. Where all goals are equally far, what is left of the way
    # times the worth of one more sample is the same for all at the optimum.
    budget, reach, sizes = Budget(num_rounds=1, steps=400, batch=1), 250.0, [10, 20, UNLIMITED]
    world = pulling_world(reach, sizes)

    def way_and_value(draws, size):
        repeats = max(draws / size - 1.0, 0.0)
        worth = min(draws, size) + size * fresh_passes(np.array([repeats])).item()
        return worth, np.exp(-repeats / REPEATS_HALFLIFE)

    def draws_for(multiplier, size):
        def excess(draws):
            worth, value = way_and_value(draws, size)
            return (reach - worth) * value - multiplier

        return brentq(excess, 0.0, 400.0) if excess(400.0) < 0 else 400.0

    total = brentq(lambda m: sum(draws_for(m, size) for size in sizes) - 400.0, 1.0, reach - 1.0)
    expected_k = np.array([draws_for(total, size) for size in sizes]) / 400.0
    found_k = best_mixture(world, budget, MixtureLimits.with_floor(3, 0.0))
    np.testing.assert_allclose(found_k, expected_k, atol=0.01)
    end_mp, _ = trained(world, budget, np.zeros((1, 3)), np.zeros((1, 3)), found_k[None], 400)
    ways = [way_and_value(400 * p, size)[0] for p, size in zip(found_k, sizes, strict=True)]
    np.testing.assert_allclose(end_mp[0], ways, rtol=0.01)


def test_complementary_domains_are_bad_alone_and_good_together():
    world = QUADRATIC["complementary"](0)
    mixture_mk = np.array([[0.4, 0, 0.3, 0.3, 0], [0, 0.4, 0.3, 0.3, 0], [0.2, 0.2, 0.3, 0.3, 0]])
    one, other, both = losses_of_fixed(world, BUDGET, mixture_mk)[:, 0] - 1.0
    before = world.task_losses(world.start_p[None])[0, 0] - 1.0
    assert both < 0.5 * before
    assert min(one, other) > 1.5 * both


@pytest.mark.parametrize("cases", [QUADRATIC, SOFTMAX], ids=["quadratic", "softmax"])
def test_samples_of_gradients_are_right_on_average(cases):
    world, rng = cases["matched"](0), np.random.default_rng(0)
    theta_p = 0.3 * rng.normal(size=len(world.start_p))
    number = len(world.domain_names)
    for domain in range(number):
        mean_p = world.gradient(theta_p[None], np.eye(number)[None, domain])[0]
        sample_p = world.domain_gradient_sample(theta_p, domain, 20_000, rng)
        np.testing.assert_allclose(sample_p, mean_p, atol=0.05)
    for task in range(world.num_tasks):
        mean_p = world.task_gradient_samples(theta_p, task, 20_000, rng).mean(0)
        step = 1e-5 * np.eye(len(theta_p))
        above, below = (world.task_losses(theta_p + s * step)[:, task] for s in (1, -1))
        np.testing.assert_allclose(mean_p, (above - below) / 2e-5, atol=0.05)


def test_the_table_has_every_world_and_contender():
    row = world_row("matched", QUADRATIC["matched"], (Contender("dids"),), SHORT, 2)
    text = gap_table("kind", [row]) + worst_task_table("kind", [row])
    assert "| kind | dids | beyond the floors |" in text
    assert "| matched |" in text
    assert len({contender.label for contender in CONTENDERS}) == len(CONTENDERS)


def test_uniform_closes_nothing_and_ends_above_the_best_as_far_as_the_table_says():
    row = world_row("matched", QUADRATIC["matched"], (Contender("uniform"),), SHORT, 2)
    runs = row.outcomes["uniform"]
    np.testing.assert_allclose([run.gap_closed for run in runs], 0.0, atol=1e-12)
    np.testing.assert_allclose([run.above_best for run in runs], row.uniform_above_best)
    yardstick = Yardstick.of(QUADRATIC["matched"](0), SHORT)
    above = (yardstick.uniform_t.sum() - yardstick.best_t.sum()) / yardstick.best_t.sum()
    assert row.uniform_above_best[0] == pytest.approx(above)
    assert min(row.uniform_above_best) > 0.0
    assert "worlds within 5 % | 0 of 1 | 0 of 1 |" in loss_table("kind", [row])
