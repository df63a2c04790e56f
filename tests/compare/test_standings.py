"""The table of a contest, computed by hand from made-up runs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import losses_of, outcome
from scipy import stats

from dids.compare.curves import MeanCurve, mean_curve, tokens_to_reach
from dids.compare.paired import paired, paired_ratio
from dids.compare.standings import standings, whole
from dids.compare.tuning import tuned
from dids.compare.wording import headline

OUTCOMES = {
    "uniform": losses_of({"x": 2.0, "y": 4.0}, {"x": 2.2, "y": 4.2}, {"x": 1.8, "y": 4.4}),
    "good": losses_of({"x": 1.7, "y": 3.9}, {"x": 2.0, "y": 4.0}, {"x": 1.6, "y": 4.1}),
    "mixed": losses_of({"x": 1.0, "y": 5.0}, {"x": 1.1, "y": 5.2}, {"x": 1.2, "y": 5.4}),
    "best-fixed": losses_of({"x": 1.6, "y": 3.8}, {"x": 1.9, "y": 3.9}, {"x": 1.5, "y": 4.0}),
}


def rows_of(outcomes=OUTCOMES, best="best-fixed"):
    rows = standings(outcomes, baseline="uniform", best=best)
    return {row.entrant: row for row in rows}


def test_mean_and_spread_of_every_task():
    x = rows_of()["good"].tasks["x"]
    assert x.loss.mean == pytest.approx(5.3 / 3)
    assert x.loss.sd == pytest.approx(math.sqrt(((1.7 - 5.3 / 3) ** 2 + (2.0 - 5.3 / 3) ** 2
                                                 + (1.6 - 5.3 / 3) ** 2) / 2))  # fmt: skip
    assert x.change == pytest.approx((5.3 - 6.0) / 6.0)


def test_differences_are_of_the_same_seed():
    row = rows_of()["good"]
    differences = [-0.2, -0.2, -0.25]  # mean over tasks, seed by seed
    assert row.difference.mean == pytest.approx(np.mean(differences))
    expected = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    assert (row.difference.low, row.difference.high) == pytest.approx(tuple(expected))
    # Unpaired, the seeds' own spread would hide it: it is ten times the difference's.
    assert row.difference.is_clear


def test_gap_closed_is_the_part_of_the_way_to_the_best_fixed_mixture():
    rows = rows_of()
    gap = (0.3 + 0.3 + 0.35) / 3
    assert rows["good"].gap_closed.mean == pytest.approx((0.65 / 3) / gap)
    assert rows["uniform"].gap_closed.mean == pytest.approx(0.0)
    best = rows["best-fixed"].gap_closed
    assert (best.mean, best.low, best.high) == pytest.approx((1.0, 1.0, 1.0))
    assert rows["mixed"].gap_closed.mean == pytest.approx(-0.05 / gap)


def test_without_a_gap_nothing_is_closed():
    worse = {**OUTCOMES, "best-fixed": OUTCOMES["uniform"]}
    assert all(row.gap_closed is None for row in rows_of(worse).values())
    assert all(row.gap_closed is None for row in rows_of(best=None).values())


def test_the_lowest_mean_loss_stands_first_and_a_low_mean_does_not_hide_a_task():
    rows = standings(OUTCOMES, baseline="uniform", best="best-fixed")
    assert [row.entrant for row in rows] == ["best-fixed", "good", "uniform", "mixed"]
    mixed = rows[-1]
    assert mixed.worst_task == "y"
    assert mixed.worst_change == pytest.approx(15.6 / 12.6 - 1)
    assert (mixed.num_below, mixed.num_clearly_above) == (1, 1)


def test_a_failed_seed_leaves_the_others_paired():
    outcomes = {**OUTCOMES, "good": {2: OUTCOMES["good"][2]}}
    row = rows_of(outcomes)["good"]
    assert row.seeds == (2,)
    assert row.difference.mean == pytest.approx(-0.25)
    assert row.difference.low is row.difference.high is None
    assert row.loss.sd is None
    assert not row.difference.is_clear
    assert "good" not in rows_of({**OUTCOMES, "good": {}})


def test_accuracy_is_a_mean_over_tasks_with_choices_against_every_other():
    outcomes = {
        name: {s: outcome({"x": 1.0}, {"x": a, "y": b}) for s, (a, b) in enumerate(pairs)}
        for name, pairs in {"uniform": [(0.2, 0.4), (0.3, 0.5)], "good": [(0.4, 0.4), (0.4, 0.5)]}
        .items()
    }  # fmt: skip
    row = rows_of(outcomes)["good"]
    assert row.accuracy.mean == pytest.approx(0.425)
    against = row.against["uniform"]
    assert against.accuracy.mean == pytest.approx(0.075)
    assert against.accuracy_change.mean == pytest.approx(0.075 / 0.35)


def test_tokens_to_the_baseline_are_read_off_the_mean_curve():
    fast = [(0, 4.0), (50, 2.0), (100, 1.0)]
    slow = [(0, 4.0), (50, 3.0), (100, 2.5)]
    outcomes = {
        "uniform": {s: outcome({"x": 1.0}, curve=slow) for s in (0, 1)},
        "good": {0: outcome({"x": 1.0}, curve=fast), 1: outcome({"x": 1.0}, curve=slow)},
        "bad": {s: outcome({"x": 1.0}, curve=[(0, 4.0), (100, 3.9)]) for s in (0, 1)},
    }
    rows = rows_of(outcomes)
    assert rows["uniform"].tokens_to_baseline == 100
    assert rows["good"].tokens_to_baseline == 50  # the mean of 2.0 and 3.0
    assert rows["bad"].tokens_to_baseline is None


def test_costs_are_means_over_the_seeds():
    outcomes = {
        "uniform": losses_of({"x": 1.0}, {"x": 1.0}),
        "dear": {
            seed: outcome({"x": 1.0}, trial_tokens=100 * seed, overhead=0.1 + seed, trial_s=4.0)
            for seed in (0, 1)
        },
    }
    row = rows_of(outcomes)["dear"]
    assert (row.trial_tokens, row.trial_s, row.tokens) == (50, 4.0, 100)
    assert row.overhead == pytest.approx(0.6)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_an_interval_is_that_of_students_t(values):
    found = paired(np.array(values))
    if np.std(values) > 1e-6:
        low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.low <= found.mean <= found.high


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0.5, 2.0)), min_size=2, max_size=6),
    st.floats(0.1, 10),
)
def test_a_ratio_does_not_change_with_the_unit(pairs, unit):
    numerator, denominator = np.array(pairs).T
    found, scaled = (
        paired_ratio(numerator, denominator),
        paired_ratio(unit * numerator, unit * denominator),
    )
    assert scaled.mean == pytest.approx(found.mean)
    assert scaled.high == pytest.approx(found.high)


def test_the_interval_of_a_ratio_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        denominator = 1.0 + 0.1 * generator.standard_normal(5)
        found = paired_ratio(0.8 * denominator + 0.1 * generator.standard_normal(5), denominator)
        covered += found.low <= 0.8 <= found.high
    assert 0.93 < covered / 2000 < 0.97


def test_curves_of_other_lengths_end_with_the_shortest():
    found = mean_curve([[(0, 4.0), (10, 2.0), (20, 1.0)], [(0, 4.0), (16, 0.0)]])
    assert found.tokens == (0, 10, 16)
    assert found.mean == pytest.approx((4.0, (2.0 + 1.5) / 2, (1.4 + 0.0) / 2))
    assert found.sd[0] == 0.0


@given(st.lists(st.floats(0.5, 5.0), min_size=2, max_size=9), st.floats(0.4, 5.1))
def test_a_loss_is_reached_where_the_line_crosses_it(values, loss):
    curve = MeanCurve(tuple(map(float, range(len(values)))), tuple(values), (0.0,) * len(values))
    found = tokens_to_reach(curve, loss)
    if found is None:
        assert min(values) > loss
    else:
        assert np.interp(found, curve.tokens, values) <= loss + 1e-9
        before = np.interp(np.linspace(0, found, 50)[:-1], curve.tokens, values)
        assert found == 0 or (before >= loss - 1e-9).all()


CANDIDATES = ({}, {"rate": 0.1}, {"rate": 1.0})


def test_settings_are_chosen_by_validation_loss_relative_to_the_baseline():
    base = outcome({"x": 1.0, "y": 10.0})
    runs = {
        0: outcome({"x": 1.0, "y": 9.0}, trial_tokens=50),
        1: outcome({"x": 0.8, "y": 10.0}),  # a higher sum, but x lost more of itself
        2: outcome({"x": 0.9, "y": 10.0}),
    }
    found = tuned(CANDIDATES, runs, base)
    assert found.settings == {"rate": 0.1}
    assert [each.relative_loss for each in found.tried] == pytest.approx([0.95, 0.9, 0.95])
    assert found.tokens == 350


def test_settings_that_fail_are_not_chosen_and_the_first_win_a_draw():
    base = outcome({"x": 1.0})
    same = outcome({"x": 1.0})
    assert tuned(CANDIDATES, {1: same, 2: same}, base).settings == {"rate": 0.1}
    assert tuned(CANDIDATES, {0: same, 1: same}, base).settings == {}
    found = tuned(CANDIDATES, {}, base)
    assert found.settings == {}
    assert all(each.relative_loss is None for each in found.tried)


@pytest.mark.parametrize("seed", [0, 1])
def test_who_lacks_a_seed_comes_last_and_wins_nothing(seed):
    """It has the lowest mean of all: over one seed, on which another is lower."""
    lone = {0: outcome({"x": 1.9, "y": 3.5}), 1: outcome({"x": 1.0, "y": 3.0})}[seed]
    outcomes = {**OUTCOMES, "lone": {seed: lone}}
    rows = standings(outcomes, baseline="uniform", best="best-fixed")
    assert [row.entrant for row in rows][-1] == "lone"
    assert "lone" not in {row.entrant for row in whole(rows)}
    assert headline(rows) == headline(standings(OUTCOMES, baseline="uniform", best="best-fixed"))
    alone = standings({"uniform": OUTCOMES["uniform"], "lone": {0: lone}}, baseline="uniform")
    assert headline(alone) == "uniform alone finished all seeds"


def test_the_way_to_uniforms_end_is_that_of_the_same_seeds():
    def run(losses):
        curve = list(zip((0, 50, 100), losses, strict=True))
        return outcome({"x": losses[-1]}, curve=curve)

    outcomes = {
        "uniform": {0: run([9.0, 8.0, 7.0]), 1: run([5.0, 4.0, 3.0])},
        "lone": {0: run([9.0, 7.0, 6.5])},  # never as low as both of uniform's
    }
    rows = {row.entrant: row for row in standings(outcomes, baseline="uniform")}
    assert rows["lone"].tokens_to_baseline == pytest.approx(50.0)
