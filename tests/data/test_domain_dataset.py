"""A sample's domain follows from its index and travels with it into the batch."""

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dids.data.domain_dataset import DomainCollator, DomainDataset, token_lengths
from dids.data.token_rows import TokenRows
from dids.errors import InputError

SIZES = {"web": 4, "empty": 0, "code": 3}
ROWS = [[i] * (1 + i % 3) for i in range(7)]


def arrow():
    parts = [datasets.Dataset.from_dict({"input_ids": rows}) for rows in (ROWS[:4], ROWS[4:])]
    return datasets.concatenate_datasets(parts)


class Plain(torch.utils.data.Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        return {"input_ids": ROWS[index]}


@pytest.mark.parametrize("make", [arrow, Plain])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_sample_brings_its_domain_into_the_batch(make, num_workers):
    data = DomainDataset(make(), SIZES)
    collate = DomainCollator(lambda items: {"input_ids": torch.tensor(
        [item["input_ids"][:1] for item in items])})  # fmt: skip
    loader = DataLoader(data, batch_size=3, collate_fn=collate, num_workers=num_workers)
    seen = [
        (int(i), int(d)) for b in loader for i, d in zip(b["input_ids"], b["domain"], strict=True)
    ]
    assert seen == [(i, 0 if i < 4 else 2) for i in range(7)]
    assert data[5]["domain"] == 2


def test_a_concatenated_data_set_is_read_once_a_batch(monkeypatch):
    data, reads = DomainDataset(arrow(), SIZES), []
    read = type(data.dataset).__getitems__
    monkeypatch.setattr(
        type(data.dataset),
        "__getitems__",
        lambda self, keys: reads.append(list(keys)) or read(self, keys),
    )
    items = data.__getitems__([6, 0, 5])
    assert [item["input_ids"][0] for item in items] == [6, 0, 5]
    assert reads == [[6, 0, 5]]


def test_domains_may_lie_in_any_order():
    domain_n = np.array([1, 0, 1, 0, 1, 0, 2])
    data = DomainDataset(Plain(), domain_n)
    assert [item["domain"] for item in data.__getitems__([6, 1, 0])] == [2, 0, 1]


def test_samples_joined_to_one_row_know_the_domain_of_every_token():
    def flattened(items):
        row = [token for item in items for token in item.pop("input_ids")]
        return {"input_ids": torch.tensor([[*row, 0, 0]])}  # two tokens of padding

    batch = DomainCollator(flattened)(DomainDataset(Plain(), SIZES).__getitems__([2, 4, 1]))
    assert batch["domain"].tolist() == [[0, 0, 0, 2, 2, 0, 0, 0, 0]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_column_called_domain_reaches_the_collator(num_workers):
    rows = datasets.Dataset.from_dict({"input_ids": ROWS, "domain": list("abcdefg")})
    data, seen = DomainDataset(rows, SIZES), []

    def collate(items):
        return {"input_ids": torch.tensor([[ord(item["domain"])] for item in items])}

    loader = DataLoader(
        data, batch_size=7, collate_fn=DomainCollator(collate), num_workers=num_workers
    )
    (seen,) = loader
    assert seen["input_ids"].flatten().tolist() == list(b"abcdefg")
    assert seen["domain"].tolist() == [0, 0, 0, 0, 2, 2, 2]
    keeps_it = DomainCollator(lambda items: {"domain": [item["domain"] for item in items]})
    with pytest.raises(InputError, match="batches have 'domain' of their own"):
        keeps_it(data.__getitems__([0, 1]))


@pytest.mark.parametrize("make", [arrow, Plain])
def test_lengths_are_those_of_the_token_ids(make):
    assert token_lengths(make()).tolist() == [len(row) for row in ROWS]
    assert token_lengths(datasets.Dataset.from_dict({"text": ["a"]})) is None
    shuffled = arrow().select([5, 0]) if make is arrow else None
    assert shuffled is None or token_lengths(shuffled).tolist() == [3, 1]


def test_domains_that_do_not_account_for_every_sample_are_refused():
    with pytest.raises(InputError, match="has 7 samples, but the domains have 8"):
        DomainDataset(arrow(), {"web": 5, "code": 3})
    with pytest.raises(InputError, match="There are 4 rows, but the domains have 3"):
        TokenRows(np.zeros((4, 2), dtype=np.int32), {"web": 3})


@pytest.mark.parametrize("num_micro", [1, 5, 40])
def test_rows_read_together_are_the_rows_read_one_by_one(num_micro):
    tokens = np.arange(1000, dtype=np.uint16).reshape(100, 10)
    rows = TokenRows(tokens, {"web": 60, "code": 40})
    ids = np.random.default_rng(0).integers(0, 100, (num_micro, 4))
    batches = list(rows.batches(ids))
    assert len(batches) == num_micro
    for batch, expected in zip(batches, ids, strict=True):
        single = rows.__getitems__(expected.tolist())
        for name in ("input_ids", "labels", "domain"):
            assert torch.equal(batch[name], single[name])
        assert batch["input_ids"][:, 0].tolist() == (expected * 10).tolist()
        assert batch["domain"].tolist() == (expected >= 60).astype(int).tolist()
