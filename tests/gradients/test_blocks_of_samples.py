"""What a GPU does with several samples at once is what a CPU does with one after the other."""

import pytest
import torch
from tiny_models import make_batch, scored, tiny_gpt2, tiny_llama, train_backward

from dids.gradients import (
    Coordinates,
    GroupedGradients,
    Projection,
    coordinates,
    gradient_statistics,
    projection,
    sample_features,
    statistics,
)
from dids.gradients.layer_gradient import RowGradient

BATCH = make_batch([9, 2, 5, 12, 7], prompt=1)
BATCH["input_ids"][0, :4] = 7  # tokens repeat
MODELS = [tiny_llama, tiny_gpt2, lambda: tiny_llama(tied=False, bias=True)]


@pytest.fixture(params=[2, 64])
def in_blocks(request, monkeypatch):
    def use():
        monkeypatch.setattr(coordinates, "_CACHED_ENTRIES", 0)
        for module in (projection, statistics, coordinates):
            monkeypatch.setattr(module, "block_size", lambda entries, device: request.param)

    return use


@pytest.mark.parametrize("max_coordinates", [None, 400])
@pytest.mark.parametrize("make", MODELS)
def test_statistics(make, max_coordinates, in_blocks):
    model = make()
    kept = Coordinates.of(model, max_coordinates=max_coordinates)
    batches = [BATCH, make_batch([3, 8], seed=1)]
    expected = gradient_statistics(model, batches, kept, with_squares=True)
    in_blocks()
    found = gradient_statistics(model, batches, kept, with_squares=True)
    torch.testing.assert_close(found.square_p, expected.square_p, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(found.halves_2p, expected.halves_2p, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", MODELS)
def test_exact_features(make, in_blocks):
    exact = Projection(37, kind="exact")
    expected_bd = sample_features(make(), BATCH, exact)
    in_blocks()
    found_bd = sample_features(make(), BATCH, exact)
    torch.testing.assert_close(found_bd, expected_bd, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("max_coordinates", [None, 400])
@pytest.mark.parametrize("make", MODELS)
def test_gradients_of_groups(make, max_coordinates, in_blocks):
    def grouped():
        model = make().eval()
        kept = Coordinates.of(model, max_coordinates=max_coordinates)
        groups = GroupedGradients(model, kept, 3)
        for group_b in ([0, 2, 2, 0, 2], [2, 2, 2, 2, 2], [0, 2, 0, 2, 2]):
            with groups.collecting(torch.tensor(group_b), scored(BATCH), 0.25):
                train_backward(model, BATCH, 4.0)
        return groups.statistics(), groups.samples()

    expected, expected_rows = grouped()
    in_blocks()
    found, found_rows = grouped()
    assert found[1] is None
    for group in (0, 2):
        torch.testing.assert_close(
            found[group].halves_2p, expected[group].halves_2p, rtol=1e-9, atol=1e-11
        )
    for one, other in zip(found_rows, expected_rows, strict=True):
        assert torch.equal(one.weight_r, other.weight_r)
        torch.testing.assert_close(one.row_rp, other.row_rp, rtol=0.02, atol=0.02)  # bfloat16


def test_rows_that_repeat_are_added_in_the_same_order_whatever_threads_there_are():
    generator = torch.Generator().manual_seed(0)
    row_bt = torch.randint(0, 7, (1, 4096), generator=generator)
    value_bti = torch.randn(1, 4096, 64, generator=generator)
    layer = RowGradient("embedding", 1, row_bt, value_bti, 50)

    def added():
        gradient_bui = torch.empty(1, 64, 50).mT  # columns lie one after the other
        layer.add_block_(gradient_bui, 0, 1, is_first=True)
        return gradient_bui

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = added()
        assert all(torch.equal(first, added()) for _ in range(100))
    finally:
        torch.set_num_threads(threads)
