"""What of a task the sources explain, by value."""

import numpy as np
import pytest

from dids.alignment.projection import Projection
from dids.alignment.unexplained import combinations, task_account


def some(seed, num, axes, dim=12, noise=0.05):
    generator = np.random.default_rng(seed)
    feature_nd = np.zeros((num, dim))
    feature_nd[np.arange(num), generator.choice(axes, num)] = 1.0
    return (feature_nd + noise * generator.normal(size=(num, dim))).astype(np.float32)


@pytest.fixture
def projection():
    feature_nd = np.concatenate([some(0, 200, [0, 1]), some(1, 200, [2, 3])])
    return Projection.fit(feature_nd, np.repeat([0, 1], 200))


def test_a_task_like_the_sources_is_explained(projection):
    account = task_account(projection, some(2, 50, [2, 3]), ["web", "code"])
    assert account.unexplained["domain"] < 0.01
    assert account.by_source["code"] > 0.95
    assert sum(account.by_source.values()) == pytest.approx(1.0)


def test_a_task_half_of_which_is_new_is_half_explained(projection):
    task_md = np.concatenate([some(2, 50, [0, 1]), some(3, 50, [7, 8])])
    account = task_account(projection, task_md, ["web", "code"])
    assert account.unexplained["domain"] == pytest.approx(0.5, abs=0.03)
    assert account.sentence("maths").startswith("maths: ")
    assert "web" in account.sentence("maths")


def test_a_task_of_opposite_direction_is_not_explained(projection):
    """A source that unteaches a task is no explanation of it."""
    account = task_account(projection, -some(2, 50, [0, 1], noise=0.0), ["web", "code"])
    assert account.unexplained["domain"] > 0.98
    exact = Projection.fit(some(0, 200, [0, 1], noise=0.0), np.repeat([0, 1], 100))
    account = task_account(exact, -some(2, 50, [0, 1], noise=0.0), ["web", "code"])
    assert account.unexplained["domain"] == 1.0
    assert account.sentence("maths") == "maths: nothing you have is like this task."


def test_combinations_are_those_of_a_slow_twin():
    generator = np.random.default_rng(0)
    vector_kd, row_md = generator.normal(size=(4, 9)), generator.normal(size=(6, 9))
    weight_mk, rest_m = combinations(vector_kd, row_md)
    for row_d, weight_k, rest in zip(row_md, weight_mk, rest_m, strict=True):
        slow_k = np.zeros(4)
        for _ in range(20_000):  # projected gradient descent
            slow_k = np.maximum(slow_k - 0.01 * vector_kd @ (slow_k @ vector_kd - row_d), 0)
        np.testing.assert_allclose(weight_k, slow_k, atol=1e-6)
        left = np.square(row_d - slow_k @ vector_kd).sum() / np.square(row_d).sum()
        assert rest == pytest.approx(left, abs=1e-9)


def test_more_vectors_than_dimensions_are_taken():
    generator = np.random.default_rng(0)
    weight_mk, rest_m = combinations(generator.normal(size=(30, 5)), generator.normal(size=(3, 5)))
    assert weight_mk.shape == (3, 30)
    assert rest_m.max() < 1e-9
