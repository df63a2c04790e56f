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
    }
)


@given(st.floats(0.005, 0.5), settings)
def test_measuring_stays_within_its_overhead_where_a_run_can_pay_for_it(overhead, given_):
    budget = MeasuringBudget.for_overhead(overhead, **given_)
    assert 1 <= budget.every <= given_["num_rounds"]
    assert 2 <= budget.task_samples <= given_["task_samples"]
    assert 1 <= budget.validation_samples <= given_["validation_samples"]
    assert 0.0 <= budget.collected_share <= 1.0
    if budget.every < given_["num_rounds"]:
        cost = budget.cost_share(given_["round_tokens"], given_["task_tokens"])
        assert cost <= overhead * (1 + 1e-6)


def test_a_smaller_overhead_measures_less():
    costs = []
    for overhead in (0.4, 0.2, 0.1, 0.05, 0.02):
        made = MeasuringBudget.for_overhead(
            overhead, round_tokens=90_000, num_rounds=8, task_tokens=[130.0] * 8,
            task_samples=16, validation_samples=32,
        )  # fmt: skip
        costs.append(made.cost_share(90_000, [130.0] * 8))
    assert costs == sorted(costs, reverse=True)


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
