import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.sampling.counts import step_counts


@given(st.data())
def test_counts_are_whole_complete_and_within_what_is_left(data):
    num_domains = data.draw(st.integers(1, 9))
    numbers = lambda strategy: st.lists(strategy, min_size=num_domains, max_size=num_domains)  # noqa: E731
    weights = np.array(data.draw(numbers(st.sampled_from([0.0, 0.01, 0.5, 1.0, 7.0]))))
    remaining = np.array(data.draw(numbers(st.integers(0, 12))))
    credit = np.array(data.draw(numbers(st.floats(-0.99, 0.99))))
    batch_size = data.draw(st.integers(1, 20))
    if remaining[weights > 0].sum() < batch_size:
        return
    credit -= credit.mean()
    tie = np.arange(num_domains, dtype=np.uint64)
    count, after = step_counts(weights / weights.sum(), credit, remaining, batch_size, tie)
    assert count.sum() == batch_size
    assert ((count >= 0) & (count <= remaining) & ((weights > 0) | (count == 0))).all()
    assert abs(after.sum() - credit.sum()) < 1e-9


def test_largest_remainders_get_the_last_samples_when_shares_are_equal_in_urgency():
    tie = np.arange(3, dtype=np.uint64)
    count, _ = step_counts(np.full(3, 1 / 3), np.array([0.2, -0.3, 0.1]), np.full(3, 9), 1, tie)
    assert count.tolist() == [1, 0, 0]


def test_no_credit_reaches_one_where_largest_remainders_would_owe_too_much():
    # Regression: the largest remainder first drew rare domains long before they were due, and at
    # step 56 of this mixture two samples were owed in full, but a step has one.
    mixture = np.array([0.6, 0.3] + [0.1 / 7] * 7)
    credit = np.zeros(9)
    for step in range(2000):
        tie = np.random.default_rng(step).permutation(9).astype(np.uint64)
        _, credit = step_counts(mixture, credit, np.full(9, 10**9), 1, tie)
        assert np.abs(credit).max() < 1 + 1e-9


def test_a_weight_next_to_nothing_is_never_due_and_no_overflow():
    # Regression: hypothesis found that 2e-313 divides to infinity, which numpy warns of.
    mixture = np.array([2e-313, 1.0])
    tie = np.arange(2, dtype=np.uint64)
    count, _ = step_counts(mixture, np.zeros(2), np.full(2, 99), 8, tie)
    assert count.tolist() == [0, 8]


def test_a_step_that_cannot_be_filled_says_what_is_left():
    with pytest.raises(ValueError, match="needs 4 samples, but only 3 are left"):
        step_counts(
            np.array([1.0, 0.0]), np.zeros(2), np.array([3, 9]), 4, np.zeros(2, dtype=np.uint64)
        )
