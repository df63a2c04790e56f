import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_llama

from dids.gradients import FeatureStore, Projection, compute_features, sample_features
from dids.gradients.compute_features import length_batches

NUM_SAMPLES = 11


class ListDataset:
    """Samples of different lengths, in the form that the collator takes."""

    def __init__(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.lengths = np.array([3 + (5 * i) % 8 for i in range(NUM_SAMPLES)], dtype=np.int32)
        self.ids = [torch.randint(0, 23, (int(n),), generator=generator) for n in self.lengths]

    def __getitem__(self, index):
        return {"input_ids": self.ids[index], "labels": self.ids[index], "sample": index}


def collate(items):
    def pad(name, value):
        return torch.nn.utils.rnn.pad_sequence(
            [item[name] for item in items], batch_first=True, padding_value=value
        )

    input_ids, labels = pad("input_ids", 0), pad("labels", -100)
    return {
        "input_ids": input_ids,
        "labels": labels,
        "attention_mask": (labels != -100).long(),
        "sample": [item["sample"] for item in items],
    }


def new_store(folder):
    return FeatureStore.open_or_create(
        folder, "key", NUM_SAMPLES, 24, shard_size=4, dtype="float32"
    )


def compute(store, progress=None, batch_tokens=20):
    model, projection = tiny_llama(double=False), Projection(24)
    compute_features(
        model,
        ListDataset(),
        collate,
        projection,
        store,
        batch_tokens=batch_tokens,
        progress=progress,
    )


def shard_bytes(folder):
    return [path.read_bytes() for path in sorted(folder.glob("part-*.npy"))]


def test_row_i_is_the_feature_of_sample_i(tmp_path):
    store, done = new_store(tmp_path), []
    compute(store, done.append)
    assert sum(done) == NUM_SAMPLES
    model, projection, dataset = tiny_llama(double=False), Projection(24), ListDataset()
    for sample in range(NUM_SAMPLES):
        alone = sample_features(model, collate([dataset[sample]]), projection)
        np.testing.assert_allclose(
            store.rows(sample, sample + 1), alone.numpy(), rtol=1e-4, atol=1e-5
        )


def test_rows_may_belong_to_some_samples_only(tmp_path):
    sample_of_row = np.array([1, 2, 5, 6, 8, 10])
    store = FeatureStore.open_or_create(tmp_path, "key", 6, 24, shard_size=4, dtype="float32")
    model, projection, dataset, done = tiny_llama(double=False), Projection(24), ListDataset(), []
    compute_features(
        model, dataset, collate, projection, store, batch_tokens=20, progress=done.append,
        sample_of_row=sample_of_row,
    )  # fmt: skip
    assert sum(done) == 6
    for row, sample in enumerate(sample_of_row):
        alone = sample_features(model, collate([dataset[sample]]), projection)
        np.testing.assert_allclose(store.rows(row, row + 1), alone.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_a_killed_run_ends_with_the_same_bytes(tmp_path, stop_after):
    compute(new_store(tmp_path / "whole"))
    calls = []

    def killed(count):
        calls.append(count)
        if len(calls) == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(new_store(tmp_path / "cut"), killed)
    compute(new_store(tmp_path / "cut"))
    assert shard_bytes(tmp_path / "cut") == shard_bytes(tmp_path / "whole")


def test_a_corrupt_shard_is_rebuilt_to_the_same_bytes(tmp_path):
    compute(new_store(tmp_path))
    before = shard_bytes(tmp_path)
    (tmp_path / "part-00001.npy").write_bytes(b"nonsense")
    done = []
    compute(new_store(tmp_path), done.append)
    assert sum(done) == 4
    assert shard_bytes(tmp_path) == before


@given(
    st.lists(st.integers(1, 50), min_size=0, max_size=30),
    st.integers(1, 120),
)
def test_batches_hold_every_sample_once_within_the_budget(lengths, batch_tokens):
    batches = length_batches(np.array(lengths, dtype=np.int64), batch_tokens)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[place] for place in batch)
        assert padded <= batch_tokens or len(batch) == 1
