"""Parameters sharded over two gloo ranks are measured as whole ones are, and come back unharmed."""

import numpy as np
import pytest
import torch
from gradients.tiny_models import (
    RowsOfBatch,
    make_batch,
    scored,
    tiny_experts,
    tiny_llama,
    train_backward,
)
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from training.ranks import on_ranks

from dids.data.dataset import PaddingCollator
from dids.errors import InputError
from dids.gradients import Coordinates, GroupedGradients
from dids.gradients.model_state import evaluation_mode
from dids.gradients.shards import is_sharded, whole, whole_state
from dids.impact.divided_pass import SampleGroup, measured_gradients
from dids.impact.preconditioner import Preconditioner, SecondMoments
from dids.ranks import from_first_rank, is_first_rank, rank

LENGTHS = [9, 7, 6, 5, 4, 4, 3]


def model_of_the_test(kind="tied"):
    """On ranks sharded as Accelerate does it: layers, the two ends, the rest."""
    if kind == "experts":  # three: one rank has two of them
        model = tiny_experts(num_local_experts=3)
    else:
        model = tiny_llama(tied=kind == "tied")
    if rank() is None:
        return model
    for layer in model.model.layers:
        fully_shard(layer)
    ends = [model.model.embed_tokens, model.model.norm, model.lm_head]
    if kind != "tied":
        fully_shard(ends.pop(0))
    fully_shard(ends, reshard_after_forward=False)
    fully_shard(model)
    return model


def shards_are_back(model):
    return all(isinstance(one, DTensor) and one.requires_grad for one in model.parameters())


def measured(num_samples, kind, max_coordinates):
    model, whole_batch = model_of_the_test(kind), make_batch(LENGTHS, seed=1)
    coordinates = Coordinates.of(model, max_coordinates=max_coordinates)
    is_unharmed = True
    if rank() is not None:  # between a backward pass and its step
        train_backward(model, whole_batch, 1.0)
        before = [one.grad.to_local().clone() for one in model.parameters()]

    (found,) = measured_gradients(
        model, coordinates, [SampleGroup(RowsOfBatch(whole_batch), np.arange(num_samples))],
        PaddingCollator(0), batch_size=2, num_rows=num_samples, with_squares=True,
    )  # fmt: skip
    if rank() is not None:
        after = [one.grad.to_local() for one in model.parameters()]
        is_unharmed = shards_are_back(model) and all(map(torch.equal, before, after))
    mean = found.mean
    return {
        "halves": mean.halves_2p.tolist(),
        "square": mean.square_p.tolist(),
        "names": coordinates.names,
        "is_unharmed": is_unharmed,
    }


@pytest.mark.parametrize(
    ("num_samples", "kind"),  # of one, the second rank has none
    [(1, "tied"), (5, "tied"), (7, "tied"), (1, "untied"), (7, "untied"), (7, "experts")],
)
def test_sharded_parameters_are_measured_as_whole_ones(tmp_path, num_samples, kind):
    one = measured(num_samples, kind, 800)
    for found in on_ranks(tmp_path, 2, measured, num_samples, kind, 800):
        assert found["is_unharmed"]
        assert tuple(found["names"]) == one["names"]
        for name in ("halves", "square"):
            np.testing.assert_allclose(found[name], one[name], rtol=1e-6, atol=1e-7)


def collected(kind):
    model, batch = model_of_the_test(kind), make_batch([9, 2, 5, 4])
    grouped = GroupedGradients(model, Coordinates.of(model), num_groups=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    with grouped.collecting(torch.tensor([0, 1, 1, 0]), scored(batch), 1.0 / 6):
        train_backward(model, batch, 6.0)
    gradients = [whole(one.grad) for one in model.parameters()]
    optimizer.step()
    coordinates = Coordinates.of(model, max_coordinates=800)
    scale_p = Preconditioner.of(model, optimizer, coordinates).scale_p
    moments = SecondMoments.of(model, optimizer).by_name
    state = whole_state(model) if rank() is not None else model.state_dict()
    return {
        "means": [one.mean_p.tolist() for one in grouped.statistics()],
        "gradients": torch.cat([one.flatten() for one in gradients]).tolist(),
        "scale": scale_p.tolist(),
        "moments": {name: moment.flatten().tolist() for name, moment in moments.items()},
        "state": {name: value.flatten().tolist() for name, value in state.items()},
        "is_tied": state["lm_head.weight"].data_ptr()
        == state["model.embed_tokens.weight"].data_ptr(),
        "is_first": is_first_rank(),
    }


@pytest.mark.parametrize("kind", ["tied", "experts"])
def test_a_sharded_step_gives_the_gradients_moments_and_weights_of_a_whole_one(tmp_path, kind):
    # Both ranks have the same batch, so that their mean is that of one.
    one = collected(kind)
    for found in on_ranks(tmp_path, 2, collected, kind):
        for name in ("means", "gradients", "scale"):
            np.testing.assert_allclose(found[name], one[name], rtol=1e-5, atol=1e-7)
        for name in ("moments", "state"):  # the first rank alone has them
            assert set(found[name]) == set(one[name])
            for parameter, values in found[name].items():
                expected = one[name][parameter] if found["is_first"] else []
                np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-9)
        assert found["is_tied"] == (kind == "tied") or not found["is_first"]


def test_whole_parameters_are_no_shards():
    model = tiny_llama()
    assert not is_sharded(model)
    assert whole(model.lm_head.weight) is model.lm_head.weight


def asked_on_the_first_rank():
    model = model_of_the_test()

    def policy():
        with evaluation_mode(model):
            raise AssertionError

    try:
        from_first_rank(policy)
    except InputError as error:
        sentence = str(error)
    with evaluation_mode(model), torch.no_grad():  # all of them may
        model(make_batch(LENGTHS)["input_ids"])
        assert not shards_are_back(model)  # what comes next would find some whole
    return [sentence, shards_are_back(model)]


def test_a_policy_that_runs_a_sharded_model_is_told_and_nobody_waits(tmp_path):
    for sentence, are_shards in on_ranks(tmp_path, 2, asked_on_the_first_rank):
        assert are_shards
        assert "sharded over ranks" in sentence
        assert "on the first rank alone" in sentence
