"""Experts, whose matrices are one parameter of three axes, against autograd of each sample."""

import pytest
import torch
from test_sample_features import assert_features_are_projected_gradients
from tiny_models import (
    EXPERTS,
    checkpoint_activations,
    make_batch,
    scored,
    slow_gradients,
    tiny_experts,
    train_backward,
)

from dids.gradients import (
    Coordinates,
    LiveFeatures,
    Projection,
    covered_parameters,
    fisher_diagonal,
    fit_projection,
    gradient_statistics,
    sample_features,
)
from dids.gradients.grouped_gradients import GroupedGradients

BATCH = make_batch([9, 2, 5, 12], prompt=1)


@pytest.mark.parametrize("kind", EXPERTS)
def test_all_but_routers_and_sinks_is_covered(kind):
    model = tiny_experts(kind)
    covered = covered_parameters(model)
    left_out = {name for name, _ in model.named_parameters() if name not in covered}
    assert all(any(part in name for part in ("gate.", "router.", "sinks")) for name in left_out)
    assert any(parameter.dim() == 3 for parameter in covered.values())


@pytest.mark.parametrize("projection", ["one-sided", "exact"])
@pytest.mark.parametrize("kind", EXPERTS)
def test_features_equal_projected_gradients_of_each_sample_alone(kind, projection):
    # Nemotron's norms go through float32 whatever the model's precision.
    close = {"rtol": 1e-4, "atol": 1e-6} if kind == "nemotron_h" else {}
    assert_features_are_projected_gradients(
        tiny_experts(kind), BATCH, Projection(37, kind=projection, input_dim=5, seed=3), **close
    )


def test_whole_tensors_are_projected_as_samples_are():
    model, projection = tiny_experts("gpt_oss"), Projection(37, input_dim=5)
    covered, gradients = covered_parameters(model), slow_gradients(model, BATCH)[0]
    whole = sum(projection.project(name, gradients[name]) for name in covered)
    torch.testing.assert_close(whole, sample_features(model, BATCH, projection)[0])


@pytest.mark.parametrize("max_coordinates", [None, 700])
@pytest.mark.parametrize("kind", EXPERTS)
def test_means_and_squares_equal_a_loop_over_samples(kind, max_coordinates):
    model = tiny_experts(kind)
    coordinates = Coordinates.of(model, max_coordinates=max_coordinates, seed=1)
    rows = [
        torch.cat([slot.select(one[name]) for name, slot in coordinates.slots.items()])
        for one in slow_gradients(model, BATCH)
    ]
    found = gradient_statistics(model, [BATCH], coordinates, with_squares=True)
    torch.testing.assert_close(found.halves_2p[0], (rows[0] + rows[2]) / 2)
    torch.testing.assert_close(found.halves_2p[1], (rows[1] + rows[3]) / 2)
    squares = torch.stack(rows).square().mean(0)
    torch.testing.assert_close(found.square_p, squares)
    torch.testing.assert_close(fisher_diagonal(model, [BATCH], coordinates), squares)


def test_coordinates_of_an_optimizers_state_are_those_of_gradients():
    model = tiny_experts()
    coordinates = Coordinates.of(model, max_coordinates=700)
    gradients = slow_gradients(model, BATCH)[0]
    rows = [slot.select(gradients[name]) for name, slot in coordinates.slots.items()]
    torch.testing.assert_close(coordinates.gather(gradients), torch.cat(rows).float())


@pytest.mark.parametrize("name", ["gate_up_proj", "down_proj"])
def test_directions_of_a_fitted_projection_are_those_of_whole_gradients(name):
    model, name = tiny_experts(), f"model.layers.0.mlp.experts.{name}"
    fitted = fit_projection(model, [BATCH], 32, input_dim=8)
    gradients = [one[name].flatten(0, 1) for one in slow_gradients(model, BATCH)]
    start = fitted.directions[name].double()
    again = sum(g.T @ g / (g @ start).square().sum() for g in gradients) @ start
    # A last pass more turns the four directions little: they are near those of the largest squares.
    values = torch.linalg.svdvals(torch.linalg.qr(again).Q.T @ start)
    assert (values > 0.9).all()
    assert_features_are_projected_gradients(model, BATCH, fitted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("experts", ["eager", "batched_mm", "grouped_mm"])
def test_whatever_multiplies_them_features_are_the_same(experts):
    model = tiny_experts(double=False, experts=experts)
    expected = sample_features(tiny_experts(), BATCH, Projection(64))
    found = sample_features(model, BATCH, Projection(64))
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("use_reentrant", [None, False, True])
def test_training_stays_to_the_last_bit_and_its_features_are_those_of_a_pass(use_reentrant):
    models = [tiny_experts(double=False, experts="grouped_mm").train() for _ in range(2)]
    expected = sample_features(models[0], BATCH, Projection(64))
    if use_reentrant is not None:
        for model in models:
            checkpoint_activations(model, use_reentrant)
    num_scored = scored(BATCH)
    divisor = int(num_scored.sum())
    with LiveFeatures(models[0], Projection(64)).collecting(num_scored, 1.0 / divisor) as found:
        train_backward(models[0], BATCH, divisor)
    train_backward(models[1], BATCH, divisor)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_domains_gradients_beside_training_are_those_of_samples_alone():
    model = tiny_experts().train()
    coordinates = Coordinates.of(model)
    groups, num_scored = torch.tensor([0, 1, 0, 1]), scored(BATCH)
    grouped = GroupedGradients(model, coordinates, 2)
    divisor = int(num_scored.sum())
    with grouped.collecting(groups, num_scored, 1.0 / divisor):
        train_backward(model, BATCH, divisor)
    rows = [
        torch.cat([slot.select(one[name]) for name, slot in coordinates.slots.items()])
        for one in slow_gradients(tiny_experts(), BATCH)
    ]
    for group, found in enumerate(grouped.statistics()):
        own = [row for row in range(4) if groups[row] == group and num_scored[row] > 0]
        means = [rows[row] for row in own]
        assert found is not None
        for half, mean in zip(found.halves_2p, means, strict=True):
            torch.testing.assert_close(half, mean)


def test_tokens_of_one_expert_alone_leave_the_others_at_zero():
    model = tiny_experts()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate.weight.zero_()  # all alike: every token goes to the same two
    name = "model.layers.1.mlp.experts.down_proj"
    coordinates = Coordinates.of(model)
    slot = coordinates.slots[name]
    fisher = fisher_diagonal(model, [BATCH], coordinates)[slot.start : slot.stop].view(4, 16, 24)
    assert sorted((fisher.flatten(1).sum(1) > 0).tolist()) == [False, False, True, True]
