"""Samples divided over ranks give the statistics and rows of one rank."""

import json

import numpy as np
import pytest
import torch
from gradients.tiny_models import (
    RowsOfBatch,
    make_batch,
    scored,
    slow_gradients,
    tiny_gpt2,
    tiny_llama,
)
from training.ranks import on_ranks

from dids.data.dataset import PaddingCollator
from dids.gradients import Coordinates, coordinates
from dids.impact.divided_pass import SampleGroup, measured_gradients, own_batches
from dids.impact.matrices import ImpactMatrices
from dids.impact.measured_matrices import measured_matrices
from dids.impact.preconditioner import Preconditioner

LENGTHS = [9, 7, 6, 5, 4, 4, 3]


def groups_of(num_samples):
    """So many samples in two groups, long and short ones in both."""
    rows = RowsOfBatch(make_batch(LENGTHS, seed=1, prompt=1))
    every = np.arange(num_samples)
    return [SampleGroup(rows, every[::2]), SampleGroup(rows, every[1::2])]


def lengths(row_rp):
    """Of rows that later entries count for more in."""
    return (row_rp.square() @ torch.linspace(0.0, 1.0, row_rp.shape[1])).sqrt()


def measured(num_samples, by_tokens, labels, shortened_by=None):
    model = tiny_llama()
    found = measured_gradients(
        model, Coordinates.of(model), groups_of(num_samples), PaddingCollator(0),
        batch_size=2, num_rows=num_samples, with_squares=not by_tokens, by_tokens=by_tokens,
        labels=labels, generator=torch.Generator().manual_seed(3), shortened_by=shortened_by,
    )  # fmt: skip
    return [
        {
            "halves": each.mean.halves_2p.tolist(),
            "weights": each.mean.weight_2.tolist(),
            "square": None if each.mean.square_p is None else each.mean.square_p.tolist(),
            "rows": each.sample.row_rp.tolist(),
            "row_weights": each.sample.weight_r.tolist(),
            "num": each.mean.num_samples,
            "of": [each.sample.num_samples, each.sample.total_weight],
        }
        for each in found
    ]


@pytest.mark.parametrize("num_samples", [1, 4, 7])
@pytest.mark.parametrize(
    ("by_tokens", "labels"), [(True, "data"), (False, "data"), (False, "model")]
)
def test_two_ranks_measure_what_one_does(tmp_path, num_samples, by_tokens, labels):
    one = json.loads(json.dumps(measured(num_samples, by_tokens, labels)))
    both = on_ranks(tmp_path, 2, measured, num_samples, by_tokens, labels)
    for found in both:
        for of_rank, alone in zip(found, one, strict=True):
            for name in ("weights", "row_weights", "num", "of"):
                assert of_rank[name] == alone[name], name
            for name in ("halves", "square"):
                if alone[name] is None:
                    assert of_rank[name] is None
                    continue
                np.testing.assert_allclose(of_rank[name], alone[name], rtol=1e-5, atol=1e-6)
    for first, second, alone in zip(*both, one, strict=True):
        first_rp, second_rp = (np.array(each["rows"]) for each in (first, second))
        has_first_r, has_second_r = first_rp.any(-1), second_rp.any(-1)
        assert not (has_first_r & has_second_r).any()
        np.testing.assert_allclose(first_rp + second_rp, alone["rows"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("labels", ["data", "model"])
def test_two_ranks_shorten_as_one_does(tmp_path, labels):
    one = measured(7, False, labels, lengths)
    for found in on_ranks(tmp_path, 2, measured, 7, False, labels, lengths):
        for of_rank, alone in zip(found, one, strict=True):
            for name in ("halves", "square"):
                np.testing.assert_allclose(of_rank[name], alone[name], rtol=0.01, atol=1e-3)


def test_no_sample_is_longer_than_the_median_of_its_group():
    found = measured(7, False, "data", lengths)
    as_they_are = measured(7, False, "data")
    for each, plain in zip(found, as_they_are, strict=True):
        row_np = torch.tensor(plain["rows"], dtype=torch.float64)
        length_n = lengths(row_np.float()).double()
        factor_n = (length_n.median() / length_n).clamp(max=1.0)
        assert (factor_n < 0.99).any()
        assert (factor_n == 1.0).any()
        shortened_np = row_np * factor_n[:, None]
        close = {"rtol": 2**-6, "atol": 2e-3}  # rows have three digits
        np.testing.assert_allclose(each["rows"], shortened_np, **close)
        halves_2p = torch.stack([shortened_np[0::2].mean(0), shortened_np[1::2].mean(0)])
        np.testing.assert_allclose(each["halves"], halves_2p, **close)
        np.testing.assert_allclose(each["square"], shortened_np.square().mean(0), **close)
        for name in ("weights", "num", "of"):
            assert each[name] == plain[name]


def test_samples_are_shortened_only_where_all_are_kept():
    model = tiny_llama()
    plain, few = (
        measured_gradients(
            model, Coordinates.of(model), groups_of(7), PaddingCollator(0), batch_size=2,
            num_rows=3, with_squares=True, shortened_by=shortened_by,
        )
        for shortened_by in (None, lengths)
    )  # fmt: skip
    for each, other in zip(plain, few, strict=True):
        torch.testing.assert_close(each.mean.halves_2p, other.mean.halves_2p, rtol=0.0, atol=0.0)
        torch.testing.assert_close(each.sample.row_rp, other.sample.row_rp, rtol=0.0, atol=0.0)


def impact_matrices(labels):
    model = tiny_llama()
    coordinates = Coordinates.of(model)
    kept = {"batch_size": 2, "num_rows": 3, "generator": torch.Generator().manual_seed(3)}
    tasks, domains = (
        measured_gradients(
            model, coordinates, groups_of(7), PaddingCollator(0), with_squares=not by_tokens,
            by_tokens=by_tokens, labels="data" if by_tokens else labels, **kept,
        )
        for by_tokens in (False, True)
    )  # fmt: skip
    return measured_matrices(
        domains, tasks, within="fisher", preconditioner=Preconditioner(),
        weight_p=coordinates.weight_p, domain_names=("a", "b"), task_names=("s", "t"),
    ).to_json()  # fmt: skip


@pytest.mark.parametrize("labels", ["data", "model"])
def test_two_ranks_find_the_error_that_one_does_though_samples_stay_where_they_are(
    tmp_path, labels
):
    alone = ImpactMatrices.from_json(impact_matrices(labels))
    assert np.isfinite(alone.error_kt).all()
    for found in map(ImpactMatrices.from_json, on_ranks(tmp_path, 2, impact_matrices, labels)):
        for name in ("error_kt", "kernel_kt", "gram_tkk", "signal_tk"):
            np.testing.assert_allclose(
                getattr(found, name), getattr(alone, name), rtol=1e-4, err_msg=name
            )


@pytest.mark.parametrize("max_coordinates", [None, 400])
@pytest.mark.parametrize("by_tokens", [False, True])
@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_groups_that_share_batches_have_what_each_alone_would(make, by_tokens, max_coordinates):
    model = make()
    coordinates = Coordinates.of(model, max_coordinates=max_coordinates)
    found = measured_gradients(
        model, coordinates, groups_of(7), PaddingCollator(0), batch_size=3, num_rows=2,
        with_squares=not by_tokens, by_tokens=by_tokens,
    )  # fmt: skip
    for each, group in zip(found, groups_of(7), strict=True):
        batch = {name: rows[group.chosen] for name, rows in group.samples.batch.items()}
        shortest_first = batch["attention_mask"].sum(1).argsort(stable=True)
        rows = [
            torch.cat([coordinates.slots[n].select(gradients[n]) for n in coordinates.names])
            for gradients in slow_gradients(model, batch)
        ]
        row_np = torch.stack(rows)[shortest_first].double()
        weight_n = scored(batch)[shortest_first].double()
        weight_n = weight_n if by_tokens else torch.ones_like(weight_n)
        weighted_np = row_np * weight_n[:, None]
        halves = [weighted_np[half::2].sum(0) / weight_n[half::2].sum() for half in (0, 1)]
        close = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(each.mean.halves_2p.double(), torch.stack(halves), **close)
        assert each.mean.weight_2.tolist() == [float(weight_n[half::2].sum()) for half in (0, 1)]
        if not by_tokens:
            square_p = row_np.square().mean(0)
            torch.testing.assert_close(each.mean.square_p.double(), square_p, **close)
        torch.testing.assert_close(
            each.sample.row_rp.double(), weighted_np[:2], rtol=2**-6, atol=5e-3
        )
        assert each.sample.total_weight == float(weight_n.sum())


@pytest.mark.parametrize("block", [2, 64])
def test_the_way_of_a_gpu_gives_the_same(monkeypatch, block):
    one = [measured(7, by_tokens, "data") for by_tokens in (False, True)]
    monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    monkeypatch.setattr(coordinates, "_CACHED_ENTRIES", 0)
    monkeypatch.setattr(coordinates, "block_size", lambda entries, device: block)
    for expected, by_tokens in zip(one, (False, True), strict=True):
        for found, alone in zip(measured(7, by_tokens, "data"), expected, strict=True):
            for name in ("weights", "row_weights", "num", "of"):
                assert found[name] == alone[name], name
            for name in ("halves", "square"):
                if alone[name] is not None:
                    np.testing.assert_allclose(found[name], alone[name], rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(found["rows"], alone["rows"], rtol=2**-6, atol=5e-3)


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
