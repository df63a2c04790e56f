import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dids.impact.measuring_budget import MeasuringBudget, padding, spread_rounds

settings = st.fixed_dictionaries(
    {
        "round_tokens": st.floats(5_000, 1e8),
        "num_rounds": st.integers(1, 50),
        "task_tokens": st.lists(st.floats(10, 400), min_size=1, max_size=20),
        "domain_tokens": st.floats(10, 400),
        "task_samples": st.integers(2, 200),
        "validation_samples": st.integers(1, 200),
        "num_domains": st.integers(2, 100),
        "kept_share": st.floats(0.001, 1.0),
        "padding": st.floats(1.0, 4.0),
    }
)
CASE = {
    "round_tokens": 90_000, "num_rounds": 8, "task_tokens": [130.0] * 8, "domain_tokens": 110.0,
    "task_samples": 16, "validation_samples": 32, "num_domains": 24, "kept_share": 0.1,
    "padding": 1.0,
}  # fmt: skip


def cost_share(budget, given_):
    """Cost of measuring over that of training, by the costs that the module states."""
    tokens = sum(given_["task_tokens"])
    pairs = 28 * len(given_["task_tokens"]) * given_["num_domains"] * given_["kept_share"]
    once = pairs + tokens * (1.1 * budget.task_samples + 0.35 * budget.validation_samples)
    collecting = (0.08 + 0.12 * given_["kept_share"]) * budget.collected_rounds
    each = once / given_["round_tokens"] / given_["padding"] + collecting
    return len(budget.measured_rounds) * each / given_["num_rounds"]


@given(st.floats(0.005, 0.5), settings)
def test_measuring_stays_within_its_overhead(overhead, given_):
    budget = MeasuringBudget.for_overhead(overhead, least_measurements=0, **given_)
    assert budget.domain_samples == 0
    assert 2 <= budget.task_samples <= given_["task_samples"]
    assert 1 <= budget.validation_samples <= given_["validation_samples"]
    assert cost_share(budget, given_) <= overhead * (1 + 1e-6)


@given(st.floats(0.001, 0.5), st.integers(0, 8), settings)
def test_so_many_measurements_are_made_whatever_they_cost(overhead, least, given_):
    budget = MeasuringBudget.for_overhead(overhead, least_measurements=least, **given_)
    free = MeasuringBudget.for_overhead(overhead, least_measurements=0, **given_)
    number = len(budget.measured_rounds)
    assert number == min(given_["num_rounds"] - 1, max(least, len(free.measured_rounds)))
    if number > len(free.measured_rounds):  # beyond what is allowed, nothing but the least
        assert budget.task_samples == min(4, given_["task_samples"])
        assert budget.validation_samples == min(8, given_["validation_samples"])
    # Every domain that a mixture of equal shares draws gives a few samples.
    drawn = budget.collected_rounds * given_["round_tokens"] / given_["domain_tokens"]
    assert drawn >= 8 * given_["num_domains"] * (1 - 1e-6)


def test_a_smaller_overhead_measures_less():
    overheads = (0.4, 0.2, 0.1, 0.05)
    budgets = [
        MeasuringBudget.for_overhead(overhead, least_measurements=0, **CASE)
        for overhead in overheads
    ]
    costs = [cost_share(budget, CASE) for budget in budgets]
    assert costs == sorted(costs, reverse=True)
    numbers = [len(budget.measured_rounds) for budget in budgets]
    assert numbers == sorted(numbers, reverse=True)
    assert 0 < numbers[-1] < 7


@given(st.integers(0, 60), st.integers(0, 60))
def test_measurements_are_spread_over_different_rounds_closer_at_the_beginning(number, more):
    num_rounds = number + 1 + more
    rounds = spread_rounds(number, num_rounds)
    assert len(rounds) == number
    assert list(rounds) == sorted(set(rounds))
    assert all(1 <= one < num_rounds for one in rounds)
    gaps = np.diff(rounds)
    if number and rounds[-1] < num_rounds - 1:  # else they had to be moved away from the end
        assert all(gaps[1:] >= gaps[:-1] - 1)


@given(st.floats(0.0, 2.0), st.integers(1, 400))
def test_training_steps_are_collected_evenly(share, num_steps):
    budget = MeasuringBudget(0, 2, 1, measured_rounds=(1,), collected_rounds=share)
    collected = [budget.is_collected(step, 0) for step in range(num_steps)]
    counts = np.cumsum(collected)
    expected = min(1.0, share) * np.arange(1, num_steps + 1)
    np.testing.assert_array_less(np.abs(counts - expected), 1.0)


def test_what_a_measurement_collects_is_spread_over_the_rounds_before_it():
    budget = MeasuringBudget(0, 2, 1, measured_rounds=(1, 3, 7), collected_rounds=1.0)
    counts = [
        sum(budget.is_collected(step, number) for step in range(number * 400, number * 400 + 400))
        for number in range(9)
    ]
    assert counts == [400, 200, 200, 100, 100, 100, 100, 0, 0]
    assert all(MeasuringBudget(0, 2, 1).is_collected(step, 5) for step in range(9))


def test_measurements_come_before_their_rounds():
    budget = MeasuringBudget(0, 2, 1, measured_rounds=(1, 3))
    assert [number for number in range(1, 6) if budget.is_measured(number)] == [1, 3]
    assert all(MeasuringBudget(0, 2, 1).is_measured(number) for number in range(1, 6))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 3))
def test_padding_is_the_mean_over_all_batches_that_can_be_drawn(lengths, batch_size):
    longest = [max(batch) for batch in itertools.product(lengths, repeat=batch_size)]
    found = padding(np.array(lengths, np.int32), batch_size)
    np.testing.assert_allclose(found, np.mean(longest) / np.mean(lengths), rtol=1e-12)
