"""An alarm needs more than noise, and noise is measured on the curve itself."""

import numpy as np
import pytest
from example_run import example_result

from dids.report import RunRecord
from dids.report.alarms import alarms, forgetting, poor_fits, wobble


def curve(losses):
    return [(1000 * i, float(loss)) for i, loss in enumerate(losses)]


def falling(noise, rise=0.0, seed=0):
    """A curve that falls to 2 and then climbs by so much over its second half."""
    n = np.arange(41)
    losses = 2.0 + 3.0 * np.exp(-n / 4) + rise * np.clip((n - 20) / 20, 0, 1)
    return curve(losses + noise * np.random.default_rng(seed).normal(size=len(n)))


def test_the_wobble_is_the_noise_and_not_the_fall():
    assert wobble(falling(noise=0.0)) < 0.01
    found = [wobble(falling(noise=0.05, seed=seed)) for seed in range(40)]
    assert np.mean(found) == pytest.approx(0.05, rel=0.15)
    assert wobble(curve([3, 2, 1])) is None


def test_a_climb_beyond_the_wobble_is_forgetting():
    lost = forgetting(falling(noise=0.01, rise=0.3))
    assert lost.last > lost.lowest
    assert lost.rise == pytest.approx(0.3 / 2.0, abs=0.05)
    assert 15_000 <= lost.lowest_tokens <= 25_000


def test_a_climb_within_the_wobble_is_none():
    is_lost = [forgetting(falling(noise=0.1, rise=0.05, seed=seed)) for seed in range(40)]
    assert sum(lost is not None for lost in is_lost) <= 4


@pytest.mark.parametrize(
    ("losses", "is_lost"),
    [
        ([3.0, 2.0, 2.01], False),  # too few points to know the wobble: two per cent
        ([3.0, 2.0, 2.05], True),
        ([3.0, 2.5, 2.2, 2.0, 1.9, 1.9005], False),  # calm, but less than half a per cent
        ([3.0], False),
        ([], False),
        ([float("nan"), float("nan")], False),
    ],
)
def test_short_and_calm_curves(losses, is_lost):
    assert (forgetting(curve(losses)) is not None) == is_lost


def run_with(**more):
    return RunRecord.from_dict({**example_result(), **more})


def test_a_task_that_is_clearly_worse_raises_an_alarm():
    tasks = {"a": {"test_loss": 2.01, "test_loss_se": 0.01},
             "b": {"test_loss": 4.2, "test_loss_se": 0.01}}  # fmt: skip
    control = {"policy": "uniform", "tasks": {
        "a": {"test_loss": 2.0, "test_loss_se": 0.01},
        "b": {"test_loss": 4.0, "test_loss_se": 0.01}}}  # fmt: skip
    found = alarms(run_with(tasks=tasks, control=control))
    assert len(found) == 1
    assert found[0].startswith("b: test loss 4.200 is 5.0\u202f% above")


def test_a_task_that_training_has_cost_something_raises_an_alarm():
    tasks = {name: {"test_loss": 4.2, "test_loss_se": 0.01} for name in "abc"}
    base = {"a": {"test_loss": 4.0, "test_loss_se": 0.01},
            "b": {"test_loss": 4.19, "test_loss_se": 0.01},
            "c": {"test_loss": 9.0, "test_loss_se": 0.01}}  # fmt: skip
    assert alarms(run_with(tasks=tasks, control=None, base=base)) == [
        "a: test loss 4.200 is 5.0\u202f% above the model's before training, more than two "
        "standard errors: the run has cost this task something."
    ]


def test_a_validation_loss_that_climbs_back_raises_an_alarm():
    history = {"calm": [[0, 3.0], [10, 2.0], [20, 2.01]], "lost": [[0, 3.0], [10, 2.0], [20, 2.2]]}
    tasks = {name: {"validation_history": points} for name, points in history.items()}
    found = alarms(run_with(tasks=tasks, control=None))
    assert found == [
        "lost: validation loss ends at 2.200, 10.0\u202f% above its lowest, 2.000 at 10 tokens: "
        "the model forgets this task."
    ]


def test_curves_that_no_fit_explains_are_named():
    found = poor_fits(run_with())
    assert found == [
        "bbh: in 22 of 22 decisions no curve fitted its losses, so its potential counted as the "
        "other tasks' mean."
    ]


def test_few_decisions_are_no_reason_to_warn():
    mixture = example_result()["mixture"][:5]
    assert poor_fits(run_with(mixture=mixture)) == []
