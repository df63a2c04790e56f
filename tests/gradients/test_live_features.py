import copy

import pytest
import torch
from tiny_models import (
    checkpoint_activations,
    make_batch,
    scored,
    tiny_gpt2,
    tiny_llama,
    train_backward,
)
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from dids.gradients import LiveFeatures, Projection, sample_features

BATCH = make_batch([9, 2, 5, 4], prompt=2)
# Norms of transformers compute in float32 inside, whose rounding depends on the loss's scale.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.mark.parametrize("kind", ["one-sided", "exact"])
@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("layers", [None, ["*mlp*", "lm_head"]])
def test_live_features_are_those_of_a_pass_of_their_own(make, kind, layers):
    model, projection = make().eval(), Projection(32, kind=kind, input_dim=8)
    expected = sample_features(model, BATCH, projection, layers=layers)
    live = LiveFeatures(model, projection, layers=layers)
    with live.collecting(scored(BATCH), 1.0 / 7) as features:
        train_backward(model, BATCH, 7.0)
    torch.testing.assert_close(features, expected, **CLOSE)


def test_a_sample_with_nothing_scored_has_a_live_feature_of_zero():
    batch = make_batch([4, 6])
    batch["labels"][0] = -100
    model = tiny_llama()
    with LiveFeatures(model, Projection(16)).collecting(scored(batch), 0.2) as features:
        train_backward(model, batch, 5.0)
    assert (features[0] == 0).all()
    assert (features[1] != 0).any()


def test_accumulated_gradients_are_the_trainers_and_nothing_is_left():
    model, other = tiny_llama(), tiny_llama()
    live, projection = LiveFeatures(model, Projection(32)), Projection(32)
    for lengths in ([9, 2], [5, 4, 4]):
        batch = make_batch(lengths, seed=len(lengths))
        with live.collecting(scored(batch), 1.0 / 20) as features:
            train_backward(model, batch, 20.0)
        train_backward(other, batch, 20.0)
        torch.testing.assert_close(features, sample_features(other, batch, projection), **CLOSE)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)
    for module in model.modules():
        assert not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointed_activations_give_the_same_live_features(use_reentrant):
    model, projection = tiny_llama().train(), Projection(32, input_dim=8)
    expected = sample_features(model, BATCH, projection)
    checkpoint_activations(model, use_reentrant)
    with LiveFeatures(model, projection).collecting(scored(BATCH), 0.1) as features:
        train_backward(model, BATCH, 10.0)
    torch.testing.assert_close(features, expected, **CLOSE)


def one_process(rank, folder):
    """A step of one of two processes, each on its own samples."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    model = tiny_llama()
    batch = make_batch([[9, 2, 5], [4, 7, 3]][rank], seed=rank)
    live = LiveFeatures(model, Projection(32))
    with live.collecting(scored(batch), 0.1) as features:
        train_backward(DistributedDataParallel(model), batch, 10.0)
    gradients = [parameter.grad for parameter in model.parameters()]
    torch.save((batch, features, gradients), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_each_of_two_processes_gets_the_features_of_its_own_samples(tmp_path):
    multiprocessing.spawn(one_process, (str(tmp_path),), nprocs=2)
    model, twin = tiny_llama(), copy.deepcopy(tiny_llama())
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for batch, features, _ in found:
        torch.testing.assert_close(features, sample_features(model, batch, Projection(32)), **CLOSE)
        train_backward(twin, batch, 20.0)  # the mean over both
    for gradient, other, expected in zip(found[0][2], found[1][2], twin.parameters(), strict=True):
        assert torch.equal(gradient, other)
        torch.testing.assert_close(gradient, expected.grad, **CLOSE)
