"""Leading directions stay as they are, the rest is folded: linear, right on average, nearer."""

import pytest
import torch
from test_sample_features import assert_features_are_projected_gradients
from tiny_models import make_batch, slow_gradients, tiny_llama

from dids.gradients import Projection, fit_projection, sample_features
from dids.gradients.fit_projection import num_leading
from dids.gradients.folded_sketch import FoldedSketch, leading_directions


def rows(num, width=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, width, generator=generator, dtype=torch.float64)


def fitted(model, leading, dim=32, seed=0):
    return fit_projection(
        model, [make_batch([7, 7, 7])], dim, input_dim=8, seed=seed, leading=leading
    )


def test_features_equal_projected_gradients_of_each_sample_alone():
    model = tiny_llama()
    projection = fitted(model, [make_batch([9, 9], seed=4), make_batch([6, 3], seed=5)])
    assert projection.sketch_dim == 4 * 32
    assert projection.leading.shape == (4 * 32, num_leading(32)) == (128, 4)
    # Directions are kept in float32, as Q is.
    batch = make_batch([9, 2, 5], prompt=1)
    assert_features_are_projected_gradients(model, batch, projection, rtol=1e-5, atol=1e-6)


def test_products_are_right_on_average_over_seeds():
    leading, number = leading_directions([rows(3)], 3), 600
    total = torch.zeros(24, 24, dtype=torch.float64)
    for seed in range(number):
        feature = FoldedSketch(leading, 11, seed).features(torch.eye(24, dtype=torch.float64))
        assert feature.shape == (24, 11)
        total += feature @ feature.T
    # Entries scatter by at most about 1 / sqrt(8 buckets) for each seed.
    assert (total / number - torch.eye(24)).abs().max() < 5 * 0.36 / number**0.5


def test_products_with_what_directions_are_taken_from_are_those_of_the_sketch():
    taken, others = rows(4), rows(5, seed=1)
    folded = FoldedSketch(leading_directions([taken[:1], taken[1:]], 4), 12, seed=0)
    found = folded.features(taken) @ folded.features(others).T
    torch.testing.assert_close(found, taken @ others.T, rtol=1e-5, atol=1e-5)
    elsewhere = folded.features(others) @ folded.features(others).T
    assert not torch.allclose(elsewhere, others @ others.T, rtol=1e-2, atol=1e-2)


def test_directions_are_orthonormal_those_of_the_first_samples_and_hardly_turned_by_a_last_bit():
    taken = rows(6)
    taken[1] = 0.0
    taken[3] = taken[2] + 1e-3 * taken[3]
    found = leading_directions([taken], 3)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.T @ found, torch.eye(3), rtol=0, atol=1e-6)
    inside = found.double() @ (found.double().T @ taken.T)
    torch.testing.assert_close(inside.T[[0, 2, 4]], taken[[0, 2, 4]], rtol=1e-5, atol=1e-5)
    turned = leading_directions([taken * (1 + 1e-7 * rows(6, seed=2))], 3)
    torch.testing.assert_close(turned, found, rtol=0, atol=1e-5)
    assert leading_directions([torch.zeros(2, 5)], 3) is None
    assert leading_directions([taken], 0) is None


def test_no_more_sketches_are_made_than_directions_are_needed():
    asked = []

    def sketches():
        for seed in range(9):
            asked.append(seed)
            yield rows(2, seed=seed)

    assert leading_directions(sketches(), 4).shape == (24, 4)
    assert asked == [0, 1]


def test_products_of_features_scatter_less_with_directions_of_like_samples():
    model, batch = tiny_llama(), make_batch([12, 12, 12, 12])
    whole = torch.stack(
        [torch.cat([g.flatten() for g in gs.values()]) for gs in slow_gradients(model, batch)]
    )
    truth = whole @ whole.T
    like = [make_batch([12] * 8, seed=seed) for seed in (7, 8)]

    def error(make):
        found = [sample_features(model, batch, make(seed)) for seed in range(8)]
        return sum(((f @ f.T - truth) / truth.diagonal().mean()).square().mean() for f in found)

    plain = error(lambda seed: fitted(model, (), dim=128, seed=seed))
    assert error(lambda seed: fitted(model, like, dim=128, seed=seed)) < 0.9 * plain


@pytest.mark.parametrize("shape", [(33, 2), (32, 32), (32, 40)])
def test_directions_that_do_not_fit_the_features_are_refused(shape):
    with pytest.raises(ValueError, match="fewer columns than the 32 dimensions"):
        Projection(32, leading=torch.zeros(shape))


def test_other_directions_are_another_projection():
    model = tiny_llama()
    one, other = ([make_batch([9, 9], seed=seed)] for seed in (4, 5))
    keys = {fitted(model, leading).key for leading in (one, one, other, ())}
    assert len(keys) == 3
