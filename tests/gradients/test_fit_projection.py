"""Fitted projections: linear as others, held against a slow twin, and nearer to the truth."""

import pytest
import torch
from test_sample_features import assert_features_are_projected_gradients
from tiny_models import make_batch, slow_gradients, tiny_gpt2, tiny_llama

from dids.errors import InputError
from dids.gradients import Projection, fit_projection, sample_features
from dids.gradients.random_signs import random_signs

NAME = "model.layers.0.mlp.down_proj.weight"


def fitted(model, batch, dim=32, **settings):
    return fit_projection(model, [batch], dim, **{"input_dim": 8, **settings})


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2, lambda: tiny_llama(tied=False)])
def test_features_equal_projected_gradients_of_each_sample_alone(make):
    model, batch = make(), make_batch([9, 2, 5], prompt=1)
    projection = fitted(model, make_batch([7, 7, 7]))
    assert projection.directions
    # Directions are kept in float32, as Q is.
    assert_features_are_projected_gradients(model, batch, projection, rtol=1e-5, atol=1e-7)


def slow_directions(model, batch, name, count, seed, passes):
    """The mean of GᵀG / |G V|² as a whole matrix, from autograd, times V; orthonormal again."""
    gradients = [gradients[name] for gradients in slow_gradients(model, batch)]
    num_inputs = gradients[0].shape[1]
    basis = random_signs(seed, f"{name}/directions", num_inputs * count).double()
    basis = basis.view(num_inputs, count) / num_inputs**0.5
    for _ in range(passes):
        moment = sum(g.T @ g / (g @ basis).square().sum() for g in gradients)
        basis = torch.linalg.qr(moment @ basis).Q
    return basis


@pytest.mark.parametrize("name", [NAME, "model.embed_tokens.weight"])
def test_directions_are_those_of_whole_gradients(name):
    model, batch = tiny_llama(tied=False), make_batch([9, 4, 6], prompt=2)
    batch["input_ids"][0, :4] = 7  # a token's rows add up before they are squared
    projection = fitted(model, batch, seed=3, input_dim=4)
    count = projection.columns[name] // 2
    expected = slow_directions(model, batch, name, count, seed=3, passes=3)
    torch.testing.assert_close(projection.directions[name], expected.float(), rtol=1e-4, atol=1e-5)


def test_batches_and_their_order_change_no_direction():
    model, batch = tiny_llama(), make_batch([9, 4, 6])
    alone = [{name: rows[i : i + 1] for name, rows in batch.items()} for i in (2, 0, 1)]
    one, other = (fit_projection(model, b, 32, input_dim=8) for b in ([batch], alone))
    for name, basis in one.directions.items():
        torch.testing.assert_close(
            basis @ basis.T, other.directions[name] @ other.directions[name].T
        )


def test_columns_are_orthonormal_and_the_random_ones_leave_them_alone():
    model = tiny_llama()
    projection = fitted(model, make_batch([9, 4]))
    num_inputs = model.get_parameter(NAME).shape[1]
    count = projection.columns[NAME] // 2
    kept, random = projection.input_matrix(NAME, num_inputs).split(count, dim=1)
    torch.testing.assert_close(kept.T @ kept, torch.eye(count), rtol=0, atol=1e-5)
    torch.testing.assert_close(kept.T @ random, torch.zeros(count, count), rtol=0, atol=1e-5)


def test_products_of_inputs_are_right_on_average_over_seeds():
    model, batch = tiny_llama(), make_batch([9, 4])
    num_inputs = model.get_parameter(NAME).shape[1]
    kept = fitted(model, batch)
    total, number = torch.zeros(num_inputs, num_inputs), 400
    for seed in range(number):
        columns = Projection(
            8, seed=seed, columns=kept.columns, directions=kept.directions
        ).input_matrix(NAME, num_inputs)
        total += columns @ columns.T
    # Entries scatter by at most about 1 / sqrt(random columns) for each seed.
    scatter = (kept.columns[NAME] / 2) ** -0.5
    assert (total / number - torch.eye(num_inputs)).abs().max() < 5 * scatter / number**0.5


def test_products_of_features_scatter_less_than_with_random_columns():
    model, batch = tiny_llama(), make_batch([12, 12, 12, 12])
    whole = torch.stack(
        [torch.cat([g.flatten() for g in gs.values()]) for gs in slow_gradients(model, batch)]
    )
    truth = whole @ whole.T

    def error(make):
        found = [sample_features(model, batch, make(seed)) for seed in range(8)]
        return sum(((f @ f.T - truth) / truth.diagonal().mean()).square().mean() for f in found)

    many = 16_384  # buckets err by next to nothing
    random = error(lambda seed: Projection(many, input_dim=8, seed=seed))
    assert error(lambda seed: fitted(model, batch, many, seed=seed)) < random / 2


def test_the_model_stays_as_it_was_and_the_fit_is_the_same_again():
    model, batch = tiny_llama(), make_batch([5, 3])
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    keys = {fitted(model, batch).key for _ in range(2)}
    assert len(keys) == 1
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    others = (
        Projection(32, input_dim=8),
        fitted(model, make_batch([6, 6])),
        fitted(model, batch, seed=1),
    )
    assert len(keys | {other.key for other in others}) == 4


def test_matrices_that_are_kept_whole_have_no_directions():
    model, batch = tiny_llama(), make_batch([5, 3])
    projection = fit_projection(model, [batch], 32, input_dim=4_096)
    assert projection.directions == {}
    whole = sample_features(model, batch, Projection(32, input_dim=4_096))
    assert torch.equal(sample_features(model, batch, projection), whole)


def test_samples_with_nothing_scored_say_nothing():
    batch = make_batch([5, 3])
    batch["labels"][:] = -100
    projection = fitted(tiny_llama(), batch)
    features = sample_features(tiny_llama(), make_batch([4]), projection)
    assert torch.isfinite(features).all()


def test_bad_settings_and_a_diverged_model_are_refused():
    with pytest.raises(ValueError, match="input_dim must be at least 2"):
        fit_projection(tiny_llama(), [], 32, input_dim=1)
    model = tiny_llama()
    with torch.no_grad():
        model.get_parameter(NAME)[0, 0] = float("nan")
    with pytest.raises(InputError, match="is not finite: the model has diverged"):
        fitted(model, make_batch([5, 3]))
