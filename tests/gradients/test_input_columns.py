"""Columns for every matrix: held against all choices there are, in small cases."""

from itertools import product

import numpy as np
import pytest
import torch
from test_fit_projection import fitted
from tiny_models import make_batch, slow_gradients, tiny_llama

from dids.gradients.input_columns import allotted_columns


def error(columns, share, shape):
    return sum(
        0.0 if columns[name] == shape[name][1] else share[name] / columns[name] for name in share
    )


def cost(columns, shape):
    return sum(count * sum(shape[name]) for name, count in columns.items())


def best(share, shape, mean):
    """The least error of all choices of powers of two, or of all columns, that the budget has."""
    budget = cost(dict.fromkeys(share, mean), shape)
    choices = [sorted({min(2**power, shape[name][1]) for power in range(1, 10)}) for name in share]
    affordable = (
        columns
        for counts in product(*choices)
        if cost(columns := dict(zip(share, counts, strict=True)), shape) <= budget
    )
    return min(error(columns, share, shape) for columns in affordable)


@pytest.mark.parametrize("seed", range(20))
def test_the_error_is_near_that_of_the_best_choice_at_no_more_cost(seed):
    rng = np.random.default_rng(seed)
    names = [f"w{number}" for number in range(4)]
    share = dict(zip(names, rng.dirichlet(np.full(4, 0.3)).tolist(), strict=True))
    shape = {name: tuple(rng.choice([16, 48, 64, 256], size=2).tolist()) for name in names}
    for mean in (4, 8):
        found = allotted_columns(share, shape, mean)
        assert cost(found, shape) <= mean * sum(map(sum, shape.values()))
        # A doubling more of the matrix that errs most halves no more than that.
        assert error(found, share, shape) <= 2 * best(share, shape, mean) + 1e-12


def test_a_matrix_that_holds_nothing_has_two_columns_and_one_that_holds_all_the_rest():
    shape = dict.fromkeys("abc", (64, 64))
    assert allotted_columns({"a": 1.0, "b": 0.0, "c": 0.0}, shape, 8) == {"a": 16, "b": 2, "c": 2}
    assert allotted_columns({"a": 0.0, "b": 0.0, "c": 0.0}, shape, 8) == dict.fromkeys("abc", 2)


def test_equal_matrices_have_equal_columns_and_small_ones_all_that_they_have():
    shape = {"a": (64, 64), "b": (64, 64), "c": (64, 3), "d": (64, 1)}
    found = allotted_columns(dict.fromkeys("abcd", 0.25), shape, 8)
    assert found["a"] == found["b"] == 8
    assert found["c"] == 3
    assert found["d"] == 1


def test_order_and_size_of_the_shares_change_nothing():
    rng = np.random.default_rng(0)
    share = {f"w{n}": value for n, value in enumerate(rng.dirichlet(np.ones(9)).tolist())}
    shape = {name: (int(rng.integers(8, 99)), int(rng.integers(8, 99))) for name in share}
    found = allotted_columns(share, shape, 8)
    turned = {name: 3.0 * share[name] for name in reversed(share)}
    assert allotted_columns(turned, shape, 8) == found


def test_a_fit_gives_most_columns_to_the_matrices_that_hold_most_of_the_gradients():
    model = tiny_llama(tied=False)
    with torch.no_grad():  # a head that says little gives the others little, too
        model.lm_head.weight.mul_(1e-3)
    batch = make_batch([12, 9, 10, 11])
    found = fitted(model, batch).columns
    share = dict.fromkeys(found, 0.0)
    for gradients in slow_gradients(model, batch):
        whole = sum(gradients[name].square().sum() for name in found)
        for name in found:
            share[name] += float(gradients[name].square().sum() / whole) / 4
    assert max(share, key=share.get) == "lm_head.weight"
    shape = {name: tuple(model.get_parameter(name).shape) for name in found}
    expected = allotted_columns(share, shape, 8)
    assert found["lm_head.weight"] == expected["lm_head.weight"]
    # What is found of a length is right within a factor of two or so: of one doubling.
    assert all(1 / 2 <= found[name] / expected[name] <= 2 for name in found)
