"""Distances of distributions, against what each is by definition, computed the long way."""

import numpy as np
import pytest
from observations import FEATURES, features_of

from dids.mixture.feature_distance import (
    MEASURES,
    coral,
    cosine_distance,
    distances_to_mixture,
    distances_to_tasks,
    domain_task_distances,
    fisher_distance,
    mean_over_tasks,
    mmd,
    standardised,
)
from dids.mixture.multiplicative_weights import tilted
from dids.mixture.policy import FeatureSamples

MEASURE = {"cosine": cosine_distance, "mmd": mmd, "coral": coral, "fisher": fisher_distance}


def two_groups(seed=0, dim=7):
    rng = np.random.default_rng(seed)
    one = rng.normal(size=(9, dim)) + np.arange(dim) / 5
    return one, 1.5 * rng.normal(size=(12, dim)) - 0.3


def test_cosine_is_of_the_means():
    one, other = two_groups()
    a, b = one.mean(0), other.mean(0)
    expected = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert cosine_distance(one, other) == pytest.approx(expected)


def test_mmd_equals_its_sum_of_kernels_pair_by_pair():
    one, other = two_groups()
    everything = np.concatenate([one, other])
    squares = [
        ((everything[i] - everything[j]) ** 2).sum()
        for i in range(len(everything))
        for j in range(i + 1, len(everything))
    ]
    widths = [factor * np.median(squares) for factor in (0.25, 0.5, 1, 2, 4)]

    def mean_kernel(rows, others):
        return np.mean(
            [[[np.exp(-((x - y) ** 2).sum() / w) for w in widths] for y in others] for x in rows]
        )

    expected = mean_kernel(one, one) + mean_kernel(other, other) - 2 * mean_kernel(one, other)
    assert mmd(one, other) == pytest.approx(expected)


def test_coral_equals_the_covariances_difference():
    one, other = two_groups()
    apart = np.cov(one.T) - np.cov(other.T)
    assert coral(one, other) == pytest.approx((apart**2).sum() / (4 * 7**2))


@pytest.mark.parametrize("dim", [7, 40])  # more samples than dimensions, and fewer
def test_fishers_distance_equals_the_best_separation(dim):
    one, other = two_groups(dim=dim)
    spread = np.cov(one.T) + np.cov(other.T)
    spread += 0.1 * np.trace(spread) / (len(one) + len(other)) * np.eye(dim)
    apart = one.mean(0) - other.mean(0)
    best = np.linalg.solve(spread, apart)
    assert fisher_distance(one, other) == pytest.approx(apart @ best)
    # No direction separates them better.
    for direction in np.random.default_rng(1).normal(size=(50, dim)):
        reached = (direction @ apart) ** 2 / (direction @ spread @ direction)
        assert reached <= fisher_distance(one, other) + 1e-9


@pytest.mark.parametrize("name", MEASURES)
def test_distances_are_symmetric_and_zero_to_oneself(name):
    one, other = two_groups()
    measure = MEASURE[name]
    assert measure(one, other) == pytest.approx(measure(other, one))
    assert measure(one, one) == pytest.approx(0.0, abs=1e-12)
    assert measure(one, other) > 1e-3


@pytest.mark.parametrize("name", MEASURES)
def test_samples_that_are_all_alike_give_a_number(name):
    same = np.ones((4, 3))
    assert np.isfinite(MEASURE[name](same, same))
    assert np.isfinite(MEASURE[name](same, 2 * same))
    assert np.isfinite(MEASURE[name](same, np.zeros((1, 3))))


@pytest.mark.parametrize("kind", ["cosine", "mmd", "fisher", "mix"])
def test_the_domain_of_a_task_is_its_nearest(kind):
    distance_kt = domain_task_distances(FEATURES, kind)
    assert distance_kt.shape == (4, 2)
    assert distance_kt.argmin(0).tolist() == [0, 1]


def test_the_mix_is_the_mean_of_all_in_their_deviations():
    every = [domain_task_distances(FEATURES, kind) for kind in MEASURES]
    expected = np.mean([(d - d.mean()) / d.std() for d in every], axis=0)
    np.testing.assert_allclose(domain_task_distances(FEATURES, "mix"), expected)


def test_groups_without_samples_are_unknown_and_no_others():
    none = np.zeros((0, 3))
    some = FeatureSamples((FEATURES.domains[0], none), (*FEATURES.tasks, none), ("a", "b", "c"))
    for kind in MEASURES:
        distance_kt = domain_task_distances(some, kind)
        assert np.isnan(distance_kt).tolist() == [[False, False, True], [True, True, True]]
    assert np.isfinite(domain_task_distances(some, "mix")).all()
    assert np.isnan(distances_to_tasks(some, np.ones(3))).tolist() == [False, True]
    assert np.isnan(distances_to_mixture(some, np.array([0.5, 0.5]))).tolist() == [False, True]


def test_distances_to_the_tasks_follow_their_weights():
    first, second = (distances_to_tasks(FEATURES, np.array(w)) for w in ((1.0, 0.0), (0.0, 1.0)))
    assert first[0] < first[1]
    np.testing.assert_allclose(
        distances_to_tasks(FEATURES, np.array([3.0, 1.0])), 0.75 * first + 0.25 * second
    )


def test_a_domain_is_at_no_distance_from_a_mixture_of_itself():
    distance_k = distances_to_mixture(FEATURES, np.array([0.0, 1.0, 0.0, 0.0]))
    assert distance_k[1] == pytest.approx(0.0, abs=1e-12)
    assert distance_k.argmin() == 1


def test_means_leave_out_what_is_unknown():
    value_kt = np.array([[1.0, np.nan], [2.0, 4.0], [np.nan, np.nan]])
    np.testing.assert_allclose(mean_over_tasks(value_kt, np.array([1.0, 3.0])), [1.0, 3.5, np.nan])


def test_values_that_differ_by_rounding_are_alike():
    np.testing.assert_array_equal(standardised(0.1 * np.ones(5) + 1e-17 * np.arange(5)), 0.0)
    np.testing.assert_array_equal(standardised(np.array([np.nan, np.nan])), 0.0)


def test_tilting_never_overflows():
    np.testing.assert_allclose(tilted(np.ones(3) / 3, np.array([1e6, -1e6, 1e6])), [0.5, 0, 0.5])


def test_features_of_a_thousand_dimensions_are_no_obstacle():
    rng = np.random.default_rng(0)
    wide = features_of(rng.normal(size=(3, 1000)), rng.normal(size=(2, 1000)))
    assert np.isfinite(domain_task_distances(wide, "mix")).all()
