import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.domains.agreement import (
    adjusted_mutual_information,
    adjusted_rand_index,
    normalised_mutual_information,
)

groupings = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=25).map(
    lambda pairs: np.array(pairs).T
)


def pair_counting_index(first, second):
    """Adjusted Rand index with a loop over all pairs of samples."""
    pairs = list(itertools.combinations(range(len(first)), 2))
    in_first = [first[i] == first[j] for i, j in pairs]
    in_second = [second[i] == second[j] for i, j in pairs]
    together = sum(a and b for a, b in zip(in_first, in_second, strict=True))
    expected = sum(in_first) * sum(in_second) / len(pairs)
    largest = (sum(in_first) + sum(in_second)) / 2
    return 1.0 if largest == expected else (together - expected) / (largest - expected)


def slow_information(first, second):
    """Mutual information and entropies, term by term."""
    total, pairs = len(first), list(zip(first.tolist(), second.tolist(), strict=True))

    def entropy(items):
        return -sum(items.count(i) / total * math.log(items.count(i) / total) for i in set(items))

    information = sum(
        pairs.count((a, b))
        / total
        * math.log(pairs.count((a, b)) * total / first.tolist().count(a) / second.tolist().count(b))
        for a, b in set(pairs)
    )
    mean = (entropy(first.tolist()) + entropy(second.tolist())) / 2
    return 1.0 if mean == 0 else information / mean


def test_values_worked_out_by_hand():
    # Sizes 2, 2 and 3, 1 with cells 2, 0, 1, 1: together 1 pair, expected 2 * 3 / 6 = 1.
    first, second = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])
    assert adjusted_rand_index(first, second) == pytest.approx(0.0)
    # Sizes 3, 3 and 2, 4; cells 2, 1, 0, 3: together 4, expected 6 * 7 / 15, mean 6.5.
    first, second = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1])
    assert adjusted_rand_index(first, second) == pytest.approx((4 - 2.8) / (6.5 - 2.8))
    h_first = math.log(2)
    h_second = math.log(3) - (2 / 3) * math.log(2)
    h_both = (1 / 3) * math.log(3) + (1 / 6) * math.log(6) + (1 / 2) * math.log(2)
    information = h_first + h_second - h_both
    assert normalised_mutual_information(first, second) == pytest.approx(
        2 * information / (h_first + h_second)
    )


@given(groupings)
def test_the_rand_index_counts_pairs(pair):
    first, second = pair
    assert adjusted_rand_index(first, second) == pytest.approx(pair_counting_index(first, second))


@given(groupings)
def test_information_is_the_sum_over_cells(pair):
    first, second = pair
    measured = normalised_mutual_information(first, second)
    assert measured == pytest.approx(slow_information(first, second), abs=1e-9)


@given(groupings, st.permutations(range(5)))
def test_names_of_groups_and_the_order_of_the_two_do_not_matter(pair, renamed):
    first, second = pair
    other = np.array(renamed)[first]
    for measure in (adjusted_rand_index, normalised_mutual_information):
        assert measure(first, other) == pytest.approx(1.0)
        assert measure(other, second) == pytest.approx(measure(first, second))
        assert measure(second, first) == pytest.approx(measure(first, second))


def test_independent_groupings_agree_by_chance_alone():
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 8, size=(2, 20_000))
    assert abs(adjusted_rand_index(first, second)) < 0.01
    assert normalised_mutual_information(first, second) < 0.01


def test_a_million_samples_do_not_overflow():
    first = np.arange(1_000_000) % 2
    assert adjusted_rand_index(first, first) == 1.0
    assert adjusted_rand_index(first, np.arange(1_000_000) // 500_000) == pytest.approx(0, abs=1e-5)


def entropy(group_n):
    share = np.unique(group_n, return_counts=True)[1] / len(group_n)
    return -float((share * np.log(share)).sum())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([0, 0, 1, 1, 2], [0, 1, 1, 1, 0]),
        ([0, 0, 0, 1, 1], [0, 0, 1, 1, 2]),
        ([0, 1, 2, 3], [0, 0, 1, 1]),
    ],
)
def test_adjusted_information_takes_out_the_mean_over_all_permutations(first, second):
    first, second = np.array(first), np.array(second)
    mean = (entropy(first) + entropy(second)) / 2
    by_chance = np.mean(
        [
            mean * normalised_mutual_information(first, second[list(order)])
            for order in itertools.permutations(range(len(first)))
        ]
    )
    information = mean * normalised_mutual_information(first, second)
    assert adjusted_mutual_information(first, second) == pytest.approx(
        (information - by_chance) / (mean - by_chance)
    )


def test_many_groups_that_say_nothing_have_no_adjusted_information():
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 30, 300), generator.integers(0, 30, 300)
    assert normalised_mutual_information(first, second) > 0.3
    assert abs(adjusted_mutual_information(first, second)) < 0.05
    assert adjusted_mutual_information(first, first) == pytest.approx(1.0)
