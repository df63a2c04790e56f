"""Samples divided over ranks give the statistics and rows of one rank."""

import json

import numpy as np
import pytest
import torch
from gradients.tiny_models import make_batch, tiny_llama
from training.ranks import on_ranks

from dids.gradients import Coordinates
from dids.impact.divided_pass import measured_gradient, own_batches

LENGTHS = [9, 7, 6, 5, 4, 4, 3]


def measured(num_samples, by_tokens, labels):
    model = tiny_llama()
    whole = make_batch(LENGTHS, seed=1, prompt=1)

    def batch(samples):
        return {name: tensor[torch.from_numpy(samples)] for name, tensor in whole.items()}

    found = measured_gradient(
        model, Coordinates.of(model), batch, np.arange(num_samples), batch_size=2, total_weight=1.0,
        num_rows=num_samples, with_squares=not by_tokens, by_tokens=by_tokens, labels=labels,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    mean, sample = found.mean, found.sample
    order = sample.row_rp.double().sum(1).argsort()
    return {
        "halves": mean.halves_2p.tolist(),
        "weights": mean.weight_2.tolist(),
        "square": None if mean.square_p is None else mean.square_p.tolist(),
        "losses": mean.losses_n.tolist(),
        "rows": sample.row_rp[order].tolist(),
        "row_weights": sample.weight_r[order].tolist(),
        "num": mean.num_samples,
    }


@pytest.mark.parametrize("num_samples", [1, 4, 7])
@pytest.mark.parametrize(
    ("by_tokens", "labels"), [(True, "data"), (False, "data"), (False, "model")]
)
def test_two_ranks_measure_what_one_does(tmp_path, num_samples, by_tokens, labels):
    one = json.loads(json.dumps(measured(num_samples, by_tokens, labels)))
    for found in on_ranks(tmp_path, 2, measured, num_samples, by_tokens, labels):
        for name in ("weights", "row_weights", "num"):
            assert found[name] == one[name], name
        for name in ("halves", "square", "losses", "rows"):
            if one[name] is None:
                assert found[name] is None
                continue
            np.testing.assert_allclose(found[name], one[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("num_samples", [0, 1, 2, 5, 11, 40])
@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_every_sample_is_one_ranks_and_keeps_its_half(
    monkeypatch, world_size, num_samples, batch_size
):
    monkeypatch.setattr("dids.impact.divided_pass.num_ranks", lambda: world_size)
    taken, num_batches = [], set()
    for rank in range(world_size):
        monkeypatch.setattr("dids.impact.divided_pass.rank", lambda rank=rank: rank)
        batches = own_batches(num_samples, batch_size)
        num_batches.add(len(batches))
        assert all(len(places) <= batch_size for places in batches)
        places = np.concatenate([np.arange(0), *batches])
        assert all(len(places) > 0 for places in batches) or len(places) < batch_size * len(batches)
        assert (places % 2 == np.arange(len(places)) % 2).all()
        taken += places.tolist()
    assert sorted(taken) == list(range(num_samples))
    assert len(num_batches) == 1  # sharded parameters are gathered for the passes of all
