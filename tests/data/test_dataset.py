"""The data set is the stores one after the other; a batch holds nothing but its samples."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dids.data.dataset import IGNORED, PaddingCollator, TokenDataset
from dids.data.records import Origin, Record
from dids.data.token_store import write_token_store


@pytest.fixture(scope="module")
def stores(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("stores")
    made = []
    for name, number in [("a", 3), ("b", 1), ("c", 4)]:
        records = (
            Record(Origin(name, i + 1), prompt="the cat " * (i + 1), completion="sat" * (i + 1))
            for i in range(number)
        )
        made.append(
            write_token_store(
                folder / name, records, tokenizer, name=name, key="k", sequence_length=32
            )
        )
    return made


def test_the_flat_index_counts_through_the_stores(stores):
    dataset = TokenDataset(stores)
    assert len(dataset) == 8
    assert dataset.source_names == ["a", "b", "c"]
    assert dataset.source_of_sample.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert dataset.source_of_sample.dtype == np.int32
    for index in range(8):
        store, local = dataset.locate(index)
        item = dataset[index]
        ids, is_scored = store.sample(local)
        assert item["input_ids"].tolist() == ids.tolist()
        assert item["labels"].tolist() == np.where(is_scored, ids, -100).tolist()
        assert item["sample"] == index
        assert dataset.lengths[index] == len(ids)
        assert dataset.scored_counts[index] == is_scored.sum()
    assert dataset.lengths.dtype == dataset.scored_counts.dtype == np.int32


def test_reading_ends_with_an_index_error(stores):
    dataset = TokenDataset(stores)
    assert len(list(dataset)) == 8
    for index in (-1, 8):
        with pytest.raises(IndexError):
            dataset[index]
    assert len(TokenDataset([])) == 0
    assert TokenDataset([]).lengths.shape == (0,)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=9))
def test_padding_is_never_scored_nor_seen(stores, indices):
    dataset = TokenDataset(stores)
    items = dataset.__getitems__(indices)
    batch = PaddingCollator(pad_token_id=1)(items)
    longest = max(len(item["input_ids"]) for item in items)
    assert batch["sample"].tolist() == indices
    for name in ("input_ids", "labels", "attention_mask"):
        assert batch[name].shape == (len(indices), longest)
        assert batch[name].dtype == torch.int64
    for row, item in enumerate(items):
        length = len(item["input_ids"])
        assert batch["input_ids"][row, :length].equal(item["input_ids"])
        assert batch["labels"][row, :length].equal(item["labels"])
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (longest - length)
        assert (batch["input_ids"][row, length:] == 1).all()
        assert (batch["labels"][row, length:] == IGNORED).all()


def test_items_without_sample_make_a_batch_without(stores):
    items = [{key: value for key, value in TokenDataset(stores)[0].items() if key != "sample"}]
    assert set(PaddingCollator(0)(items)) == {"input_ids", "labels", "attention_mask"}


def test_a_loader_reads_it_in_batches(stores):
    loader = DataLoader(TokenDataset(stores), batch_size=3, collate_fn=PaddingCollator(1))
    assert [batch["sample"].tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5], [6, 7]]
