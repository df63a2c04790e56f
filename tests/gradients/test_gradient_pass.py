from weakref import ref

import pytest
import torch
from tiny_models import joined, make_batch, tiny_gpt2, tiny_llama

from dids.errors import InputError
from dids.gradients import (
    Coordinates,
    FeatureMoments,
    FeatureReceiver,
    Projection,
    gradient_pass,
    gradient_statistics,
    sample_features,
    sample_losses,
)

BATCHES = [make_batch([9, 2, 5], seed=1, prompt=2), make_batch([4, 4], seed=2), make_batch([3])]
# Norms of transformers compute in float32 inside, whose rounding depends on the loss's scale.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("by_tokens", [False, True])
def test_everything_comes_out_of_one_pass_as_out_of_its_own(make, by_tokens):
    model, projection = make(), Projection(32, input_dim=8)
    coordinates, calls, found = Coordinates.of(model), [], []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    moments = FeatureMoments(projection)
    kwargs = {"with_squares": not by_tokens, "by_tokens": by_tokens}
    together = gradient_statistics(
        model,
        BATCHES,
        coordinates,
        receivers=[FeatureReceiver(projection, found.append), moments],
        **kwargs,
    )
    handle.remove()
    assert len(calls) == len(BATCHES)
    alone = gradient_statistics(model, BATCHES, coordinates, **kwargs)
    assert torch.equal(together.halves_2p, alone.halves_2p)
    assert by_tokens or torch.equal(together.square_p, alone.square_p)
    expected = torch.cat([sample_features(model, batch, projection) for batch in BATCHES])
    torch.testing.assert_close(torch.cat(found), expected, **CLOSE)
    torch.testing.assert_close(moments.mean_d, expected.mean(0), **CLOSE)


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_documents_of_one_row_are_as_samples_of_their_own(make):
    model = make().eval()
    batch = make_batch([9, 2, 5], prompt=1)
    row, lengths = joined(batch)  # each scores all but its first token
    scored_b = torch.tensor(lengths) - 1.0
    expected = (sample_losses(model, batch) * scored_b).sum() / scored_b.sum()
    torch.testing.assert_close(sample_losses(model, row), expected[None], **CLOSE)
    coordinates = Coordinates.of(model)
    means = [
        gradient_statistics(model, batches, coordinates, with_squares=False, by_tokens=True).mean_p
        for batches in ([batch], [row])
    ]
    torch.testing.assert_close(*means, **CLOSE)


def test_logits_of_a_batch_are_gone_before_the_next_one_runs():
    model, logits = tiny_llama(), []
    model.register_forward_pre_hook(lambda *_: alive.append([r() is not None for r in logits]))
    model.register_forward_hook(lambda _, __, output: logits.append(ref(output.logits)))
    alive = []
    gradient_statistics(model, BATCHES, Coordinates.of(model), with_squares=True)
    assert alive == [[], [False], [False, False]]


def test_the_mean_feature_is_the_projected_mean_gradient():
    model, projection = tiny_llama(), Projection(32, input_dim=8)
    moments, coordinates = FeatureMoments(projection), Coordinates.of(tiny_llama())
    statistics = gradient_statistics(
        model, BATCHES, coordinates, with_squares=False, receivers=[moments]
    )
    projected = sum(
        projection.project(name, statistics.mean_p[slot.start : slot.stop].view(slot.shape))
        for name, slot in coordinates.slots.items()
    )
    torch.testing.assert_close(moments.mean_d, projected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("labels", ["data", "model"])
def test_the_fisher_information_of_features_is_the_mean_of_their_outer_products(labels):
    model, projection, found = tiny_llama(), Projection(16), []
    moments = FeatureMoments(projection)
    gradient_pass(
        model, BATCHES, [moments, FeatureReceiver(projection, found.append)], labels=labels
    )
    feature_nd = torch.cat(found)
    expected = torch.stack([torch.outer(row, row) for row in feature_nd]).mean(0)
    torch.testing.assert_close(moments.fisher_de, expected, rtol=1e-9, atol=1e-12)
    vector = torch.randn(16, dtype=torch.float64)
    times = torch.stack([(row @ vector) * row for row in feature_nd]).mean(0)
    torch.testing.assert_close(moments.fisher_times(vector), times, rtol=1e-9, atol=1e-12)


def test_no_samples_are_told():
    with pytest.raises(InputError, match="at least one sample"):
        gradient_pass(tiny_llama(), [], [])
    with pytest.raises(InputError, match="at least one sample"):
        _ = FeatureMoments(Projection(8)).mean_d
