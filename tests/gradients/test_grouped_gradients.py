import pytest
import torch
from tiny_models import (
    checkpoint_activations,
    make_batch,
    scored,
    slow_gradients,
    tiny_gpt2,
    tiny_llama,
    train_backward,
)

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
