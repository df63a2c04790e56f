"""The same numbers on a GPU as on a CPU, and the same ones twice."""

import pytest
import torch
from tiny_models import (
    make_batch,
    scored,
    slow_gradients,
    tiny_gpt2,
    tiny_llama,
    train_backward,
)

from dids.gradients import (
    Coordinates,
    GroupedGradients,
    LiveFeatures,
    Projection,
    fisher_diagonal,
    gradient_statistics,
    sample_features,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

BATCH = make_batch([9, 2, 5, 12, 7], prompt=2)
SCORED_B = scored(BATCH)


def on_gpu(batch):
    return {name: tensor.cuda() for name, tensor in batch.items()}


@pytest.mark.parametrize("kind", ["one-sided", "exact"])
@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_features_are_those_of_the_cpu(make, kind):
    projection = Projection(64, kind=kind, input_dim=8, seed=3)
    expected_bd = sample_features(make(), BATCH, projection)
    found_bd = sample_features(make().cuda(), on_gpu(BATCH), projection)
    torch.testing.assert_close(found_bd.cpu(), expected_bd, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["one-sided", "exact"])
def test_features_of_a_float32_model_are_the_same_twice_and_near_those_of_float64(kind):
    projection = Projection(64, kind=kind, input_dim=8)
    expected_bd = sample_features(tiny_llama(), BATCH, projection)
    model = tiny_llama(double=False).cuda()
    first_bd, second_bd = (sample_features(model, on_gpu(BATCH), projection) for _ in range(2))
    assert torch.equal(first_bd, second_bd)
    torch.testing.assert_close(first_bd.cpu().double(), expected_bd, rtol=1e-3, atol=1e-4)


def test_features_under_bf16_autocast_point_the_same_way():
    projection = Projection(64, input_dim=8)
    expected_bd = sample_features(tiny_llama(), BATCH, projection)
    model = tiny_llama(double=False).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        found_bd = sample_features(model, on_gpu(BATCH), projection)
    assert found_bd.dtype == torch.float32
    cosine_b = torch.cosine_similarity(found_bd.cpu().double(), expected_bd)
    assert (cosine_b[SCORED_B > 0] > 0.999).all()


@pytest.mark.parametrize("tied", [True, False])
def test_the_fisher_diagonal_is_that_of_a_loop_over_samples(tied):
    model = tiny_llama(tied=tied)
    coordinates = Coordinates.of(model)
    per_sample = [coordinates.gather(found).double() for found in slow_gradients(model, BATCH)]
    expected_p = torch.stack(per_sample).square().mean(0)
    found_p = fisher_diagonal(model.cuda(), [on_gpu(BATCH)], coordinates)
    torch.testing.assert_close(found_p.cpu(), expected_p, rtol=1e-4, atol=1e-7)


def test_statistics_are_those_of_the_cpu():
    model = tiny_llama()
    coordinates = Coordinates.of(model, max_coordinates=800)
    expected = gradient_statistics(model, [BATCH], coordinates, with_squares=True)
    found = gradient_statistics(model.cuda(), [on_gpu(BATCH)], coordinates, with_squares=True)
    torch.testing.assert_close(found.halves_2p.cpu(), expected.halves_2p, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.square_p.cpu(), expected.square_p, rtol=1e-4, atol=1e-7)


def grouped(model, batch):
    groups = GroupedGradients(model, Coordinates.of(model, max_coordinates=800), 2)
    for _ in range(2):
        with groups.collecting(torch.tensor([0, 1, 1, 0, 1]), scored(batch).cpu(), 0.25):
            train_backward(model, batch, 4.0)
    return groups.statistics(), groups.samples()


def test_gradients_of_groups_beside_training_are_those_of_the_cpu():
    expected, expected_rows = grouped(tiny_llama(), BATCH)
    found, found_rows = grouped(tiny_llama().cuda(), on_gpu(BATCH))
    # Norms of transformers compute in float32 inside.
    close = {"rtol": 1e-4, "atol": 1e-6}
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.halves_2p.cpu(), other.halves_2p, **close)
    for one, other in zip(found_rows, expected_rows, strict=True):
        torch.testing.assert_close(one.row_rp.cpu(), other.row_rp, rtol=0.02, atol=0.02)


def test_live_features_are_those_of_a_pass_of_their_own():
    model, batch, projection = tiny_llama().cuda(), on_gpu(BATCH), Projection(64, input_dim=8)
    expected_bd = sample_features(model, batch, projection)
    total = float(scored(batch).sum())
    with LiveFeatures(model, projection).collecting(scored(batch), 1.0 / total) as found_bd:
        train_backward(model, batch, total)
    torch.testing.assert_close(found_bd, expected_bd, rtol=1e-4, atol=1e-6)
