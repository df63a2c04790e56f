"""Some samples' gradients by themselves: equal to autograd's, the first of every group, few."""

import pytest
import torch
from tiny_models import make_batch, scored, slow_gradients, tiny_gpt2, tiny_llama, train_backward

from dids.gradients import Coordinates, GroupedGradients
from dids.gradients import sample_rows as module
from dids.gradients.sample_rows import SampleRows

CLOSE = {"rtol": 2**-6, "atol": 5e-3}  # bfloat16 keeps eight bits of every use that is added


def slow_rows(model, batch, coordinates):
    return [
        torch.cat([coordinates.slots[n].select(gradients[n]) for n in coordinates.names])
        for gradients in slow_gradients(model, batch)
    ]


@pytest.mark.parametrize("max_coordinates", [None, 400])
@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_rows_of_training_are_the_first_samples_of_each_group(make, max_coordinates):
    model = make().eval()
    batches = [make_batch([9, 2, 5], seed=1, prompt=1), make_batch([4, 4, 6, 3], seed=2)]
    groups = [[0, 2, 0], [2, 0, 0, 2]]
    coordinates = Coordinates.of(model, max_coordinates=max_coordinates)
    grouped = GroupedGradients(model, coordinates, num_groups=3)
    expected = {0: [], 2: []}
    for batch, group_b, divisor in zip(batches, groups, [7.0, 3.0], strict=True):
        with grouped.collecting(torch.tensor(group_b), scored(batch), 1.0 / divisor):
            train_backward(model, batch, divisor)
        found = slow_rows(model, batch, coordinates)
        for row, group, count in zip(found, group_b, scored(batch).tolist(), strict=True):
            expected[group].append((row * count, float(count)))
    samples = grouped.samples()
    assert len(samples[1].row_rp) == 0
    for group, pairs in expected.items():
        rows, weights = zip(*pairs, strict=True)
        assert samples[group].num_samples == len(pairs)
        assert samples[group].total_weight == sum(weights)
        assert samples[group].weight_r.tolist() == list(weights)
        torch.testing.assert_close(samples[group].row_rp.double(), torch.stack(rows), **CLOSE)


def test_a_new_round_begins_with_new_rows():
    model = tiny_llama()
    grouped = GroupedGradients(model, Coordinates.of(model), num_groups=1)
    for seed in (1, 2):
        batch = make_batch([5, 3], seed=seed)
        grouped.clear()
        with grouped.collecting(torch.tensor([0, 0]), scored(batch), 1.0):
            train_backward(model, batch, 1.0)
    last = torch.stack(slow_rows(model, batch, grouped.coordinates)) * scored(batch)[:, None]
    torch.testing.assert_close(grouped.samples()[0].row_rp.double(), last, **CLOSE)


def test_many_groups_have_fewer_rows_each(monkeypatch):
    model = tiny_llama()
    coordinates = Coordinates.of(model)
    assert SampleRows(model, coordinates, 2).rows == module.ROWS
    monkeypatch.setattr(module, "MAX_BYTES", 2 * coordinates.size * 12)
    assert SampleRows(model, coordinates, 3).rows == 4
    assert SampleRows(model, coordinates, 100).rows == 2
