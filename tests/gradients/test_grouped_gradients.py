from functools import partial

import pytest
import torch
from tiny_models import (
    EXPERTS,
    checkpoint_activations,
    joined,
    make_batch,
    scored,
    slow_gradients,
    tiny_experts,
    tiny_gpt2,
    tiny_llama,
    train_backward,
)

from dids.errors import InputError
from dids.gradients import Coordinates, GroupedGradients


def slow_means(model, batches, groups, coordinates, num_groups):
    """Per-sample gradients from a loop, weighted by scored tokens, by half and group."""
    sums = torch.zeros(2, num_groups, coordinates.size, dtype=torch.float64)
    weights = torch.zeros(2, num_groups, 1, dtype=torch.float64)
    seen = [0] * num_groups
    for batch, group_b in zip(batches, groups, strict=True):
        for gradients, group, count in zip(
            slow_gradients(model, batch), group_b, scored(batch).tolist(), strict=True
        ):
            row = torch.cat([coordinates.slots[n].select(gradients[n]) for n in coordinates.names])
            sums[seen[group] % 2, group] += row * count
            weights[seen[group] % 2, group] += count
            seen[group] += 1
    return sums, weights


@pytest.mark.parametrize("max_coordinates", [None, 400])
@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_means_by_group_equal_a_loop_over_samples(make, max_coordinates):
    model = make().eval()
    batches = [make_batch([9, 2, 5], seed=1, prompt=1), make_batch([4, 4, 6, 3], seed=2)]
    groups = [[0, 2, 0], [2, 0, 0, 3]]
    coordinates = Coordinates.of(model, max_coordinates=max_coordinates)
    grouped = GroupedGradients(model, coordinates, num_groups=4)
    for batch, group_b, divisor in zip(batches, groups, [7.0, 3.0], strict=True):
        with grouped.collecting(torch.tensor(group_b), scored(batch), 1.0 / divisor):
            train_backward(model, batch, divisor)
    sums, weights = slow_means(model, batches, groups, coordinates, 4)
    found = grouped.statistics()
    assert found[1] is None  # never drawn
    assert found[3] is None  # drawn once: no second half
    # Norms of transformers compute in float32 inside, whose rounding depends on the loss's scale.
    close = {"rtol": 1e-6, "atol": 1e-6 * float(sums.abs().max())}
    for group, count in ((0, 4), (2, 2)):
        assert found[group].num_samples == count
        expected = sums[:, group].sum(0) / weights[:, group].sum()
        torch.testing.assert_close(found[group].mean_p, expected, **close)
        torch.testing.assert_close(
            found[group].halves_2p, sums[:, group] / weights[:, group], **close
        )


def test_the_trainers_own_gradient_is_the_one_without_looking():
    model, other = tiny_llama(), tiny_llama()
    batch = make_batch([9, 2, 5])
    grouped = GroupedGradients(model, Coordinates.of(model), num_groups=2)
    with grouped.collecting(torch.tensor([0, 1, 1]), scored(batch), 1.0 / 6):
        train_backward(model, batch, 6.0)
    train_backward(other, batch, 6.0)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpointing_changes_nothing(use_reentrant):
    batch, group_b = make_batch([9, 2, 5, 4]), torch.tensor([0, 1, 1, 0])
    means = []
    for is_checkpointed in (False, True):
        model = tiny_llama()
        if is_checkpointed:
            model.train()
            checkpoint_activations(model, use_reentrant)
        grouped = GroupedGradients(model, Coordinates.of(model), num_groups=2)
        with grouped.collecting(group_b, scored(batch), 0.2):
            train_backward(model, batch, 5.0)
        means.append(torch.stack([found.mean_p for found in grouped.statistics()]))
    torch.testing.assert_close(means[0], means[1], rtol=1e-9, atol=1e-12)


MODELS = {
    "llama": tiny_llama,
    "llama, biases": lambda: tiny_llama(tied=False, bias=True),
    "gpt2": tiny_gpt2,
    "mixtral": partial(tiny_experts, "mixtral"),
    "qwen3_moe": partial(tiny_experts, "qwen3_moe"),
}


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("is_padded", [False, True])
def test_samples_joined_to_one_row_are_told_apart(name, is_padded):
    batch = make_batch([9, 2, 5, 4, 1, 7], prompt=1)
    group_b = torch.tensor([0, 1, 1, 0, 1, 1])
    row, lengths = joined(batch)
    if is_padded:
        pads = torch.full((1, 3), 0)
        row = {
            "input_ids": torch.cat([row["input_ids"], pads], 1),
            "labels": torch.cat([row["labels"], pads - 100], 1),
            "position_ids": torch.cat([row["position_ids"], pads], 1),
        }
    means = []
    for inputs, lengths_b in ((batch, None), (row, lengths)):
        model = MODELS[name]().eval()
        grouped = GroupedGradients(model, Coordinates.of(model), num_groups=2)
        with grouped.collecting(group_b, scored(batch), 0.2, lengths=lengths_b):
            train_backward(model, inputs, 5.0)
        means.append(torch.stack([found.halves_2p for found in grouped.statistics()]))
    assert means[0].abs().max() > 0.01
    torch.testing.assert_close(means[0], means[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", list(EXPERTS))
def test_what_is_cut_out_of_a_joined_row_adds_up_to_the_trainers_gradient(kind):
    # Not all of them keep samples of one row apart; then training does not, either.
    model = tiny_experts(kind)
    row, lengths = joined(make_batch([9, 2, 5, 4], prompt=1))
    coordinates = Coordinates.of(model)
    grouped = GroupedGradients(model, coordinates, num_groups=1)
    scored_b = torch.tensor(lengths) - 1
    with grouped.collecting(torch.zeros(4, dtype=int), scored_b, 1.0, lengths=lengths):
        train_backward(model, row, 1.0)
    own = dict(model.named_parameters())
    total_p = torch.cat([coordinates.slots[n].select(own[n].grad) for n in coordinates.names])
    found_p = grouped.statistics()[0].mean_p * float(scored_b.sum())
    assert total_p.abs().max() > 0.1
    torch.testing.assert_close(found_p, total_p, rtol=1e-6, atol=1e-6)


def test_a_layer_that_sees_a_joined_row_in_another_shape_is_named():
    model = tiny_llama()
    model.model.layers[0].mlp.up_proj.register_forward_pre_hook(
        lambda _, args: (args[0].unflatten(1, (2, -1)),)
    )
    model.model.layers[0].mlp.up_proj.register_forward_hook(lambda *of: of[2].flatten(1, 2))
    row, lengths = joined(make_batch([5, 7]))
    grouped = GroupedGradients(model, Coordinates.of(model), num_groups=1)
    with (
        pytest.raises(
            InputError, match=r"a Linear layer sees shape .* for a row of 12 tokens that 2"
        ),
        grouped.collecting(torch.tensor([0, 0]), torch.tensor([4, 6]), 1.0, lengths=lengths),
    ):
        train_backward(model, row, 1.0)


def test_nothing_is_left_after_a_round():
    model = tiny_llama()
    grouped = GroupedGradients(model, Coordinates.of(model), num_groups=2)
    group_b, batch = torch.tensor([0, 0, 1, 1]), make_batch([3, 7, 4, 4])
    means = []
    for _ in range(2):
        with grouped.collecting(group_b, scored(batch), 0.5):
            train_backward(model, batch, 2.0)
        means.append(torch.stack([found.halves_2p for found in grouped.statistics()]))
        grouped.clear()
        assert grouped.statistics() == [None, None]
    assert torch.equal(means[0], means[1])
