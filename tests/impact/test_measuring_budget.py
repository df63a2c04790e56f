import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.impact.measuring_budget import MeasuringBudget

settings = st.fixed_dictionaries(
    {
        "round_tokens": st.floats(5_000, 1e8),
        "num_rounds": st.integers(2, 50),
        "task_tokens": st.lists(st.floats(10, 400), min_size=1, max_size=20),
        "task_samples": st.integers(4, 200),
        "validation_samples": st.integers(8, 200),
        "num_domains": st.integers(2, 100),
        "kept_share": st.floats(0.001, 1.0),
    }
)


def cost_share(budget, given_):
    """Cost of measuring over that of training, by the costs that the module states."""
    tokens = sum(given_["task_tokens"])
    pairs = 95 * len(given_["task_tokens"]) * given_["num_domains"] * given_["kept_share"]
    once = pairs + tokens * (1.2 * budget.task_samples + 0.35 * budget.validation_samples)
    collecting = (0.04 + 0.75 * given_["kept_share"]) * budget.collected_share
    return once / budget.every / given_["round_tokens"] + collecting


@given(st.floats(0.005, 0.5), settings)
def test_measuring_stays_within_its_overhead_where_a_run_can_pay_for_it(overhead, given_):
    budget = MeasuringBudget.for_overhead(overhead, **given_)
    assert 1 <= budget.every <= given_["num_rounds"]
    assert 2 <= budget.task_samples <= given_["task_samples"]
    assert 1 <= budget.validation_samples <= given_["validation_samples"]
    assert 0.0 <= budget.collected_share <= 1.0
    if budget.every < given_["num_rounds"]:
        assert cost_share(budget, given_) <= overhead * (1 + 1e-6)


def test_a_smaller_overhead_measures_less():
    given_ = {
        "round_tokens": 90_000, "num_rounds": 8, "task_tokens": [130.0] * 8, "task_samples": 16,
        "validation_samples": 32, "num_domains": 24, "kept_share": 0.1,
    }  # fmt: skip
    overheads = (0.4, 0.2, 0.1, 0.05)
    budgets = [MeasuringBudget.for_overhead(overhead, **given_) for overhead in overheads]
    costs = [cost_share(budget, given_) for budget in budgets]
    assert costs == sorted(costs, reverse=True)
    assert [budget.every for budget in budgets] == sorted(budget.every for budget in budgets)


@given(st.floats(0.0, 1.0), st.integers(1, 400))
def test_training_steps_are_collected_evenly(share, num_steps):
    budget = MeasuringBudget(0, 2, 1, collected_share=share)
    collected = [budget.is_collected(step) for step in range(num_steps)]
    counts = np.cumsum(collected)
    np.testing.assert_array_less(np.abs(counts - share * np.arange(1, num_steps + 1)), 1.0)


@pytest.mark.parametrize(("every", "expected"), [(1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3])])
def test_measurements_come_every_so_many_rounds(every, expected):
    budget = MeasuringBudget(0, 2, 1, every=every)
    assert [round_ for round_ in range(1, 5) if budget.is_measured(round_)] == expected
