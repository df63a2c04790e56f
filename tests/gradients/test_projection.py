import numpy as np
import pytest
import torch

from dids.gradients import Projection
from dids.gradients.random_signs import random_signs


@pytest.mark.parametrize("kind", ["one-sided", "exact"])
def test_inner_products_are_kept_on_average(kind):
    torch.manual_seed(0)
    one, other = torch.randn(12, 40), torch.randn(12, 40)
    other += one
    exact = float((one * other).sum())
    estimates = []
    for seed in range(400):
        projection = Projection(64, kind=kind, input_dim=8, seed=seed)
        estimates.append(float(projection.project("w", one) @ projection.project("w", other)))
    assert abs(np.mean(estimates) - exact) < 4 * np.std(estimates) / 20


def test_projection_is_linear():
    projection = Projection(16, input_dim=4)
    one, other = torch.randn(6, 9), torch.randn(6, 9)
    torch.testing.assert_close(
        projection.project("w", one + 2 * other),
        projection.project("w", one) + 2 * projection.project("w", other),
    )


def test_signs_depend_on_seed_and_name_alone_and_are_fair():
    assert torch.equal(random_signs(3, "a", 100), random_signs(3, "a", 1000)[:100])
    assert not torch.equal(random_signs(3, "a", 100), random_signs(4, "a", 100))
    assert not torch.equal(random_signs(3, "a", 100), random_signs(3, "b", 100))
    assert abs(random_signs(0, "a", 10_000).float().mean()) < 0.04
    # Fixed forever: stored features of another machine must mean the same.
    assert random_signs(0, "model.layers.0", 8).tolist() == FIRST_SIGNS


FIRST_SIGNS = [-1, -1, -1, -1, -1, 1, -1, -1]


def test_the_key_tells_projections_apart():
    keys = {
        Projection(64).key,
        Projection(32).key,
        Projection(64, seed=1).key,
        Projection(64, kind="exact").key,
        Projection(64, input_dim=16).key,
    }
    assert len(keys) == 5


def test_wrong_settings_are_told():
    with pytest.raises(ValueError, match="at least 1"):
        Projection(0)
