"""Packing keeps every token in order and in its domain; only a last short block is left out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.data.dataset import IGNORED, TokenDataset
from dids.data.domain_dataset import DomainDataset
from dids.data.packed_dataset import PackedDataset
from dids.data.records import Origin, Record
from dids.data.token_store import write_token_store
from dids.errors import InputError
from dids.sampling import MixtureSampler


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, tokenizer):
    folder, stores = tmp_path_factory.mktemp("stores"), []
    for name, number in [("a", 6), ("b", 9)]:
        records = (
            Record(Origin(name, i + 1), prompt="the cat " * (i + 1), completion="sat" * (i + 2))
            for i in range(number)
        )
        stores.append(
            write_token_store(
                folder / name, records, tokenizer, name=name, key="k", sequence_length=64
            )
        )
    return TokenDataset(stores)


def stream(dataset, ids):
    items = [dataset[int(i)] for i in ids]
    return (
        np.concatenate([item["input_ids"] for item in items]),
        np.concatenate([item["labels"] for item in items]),
    )


@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_blocks_are_the_domains_tokens_in_order(dataset, block_length, random):
    ids = list(range(15))
    random.shuffle(ids)  # a domain need not be a source, nor lie in one piece
    members = {"first": np.array(ids[:6]), "second": np.array(ids[6:])}
    packed = PackedDataset(dataset, members, block_length)
    assert sum(packed.sizes.values()) == len(packed) == len(packed.lengths)
    first = 0
    for name, size in packed.sizes.items():
        tokens, labels = stream(dataset, members[name])
        assert size == len(tokens) // block_length
        blocks = packed.__getitems__(range(first, first + size))
        end = size * block_length
        assert np.concatenate([b["input_ids"] for b in blocks]).tolist() == tokens[:end].tolist()
        assert np.concatenate([b["labels"] for b in blocks]).tolist() == labels[:end].tolist()
        first += size
    assert any((packed[i]["labels"] == IGNORED).any() for i in range(len(packed)))


def test_weights_of_packed_domains_are_shares_of_tokens(dataset):
    members = {"a": np.arange(6), "b": np.arange(6, 15)}
    packed = PackedDataset(dataset, members, 8)
    data = DomainDataset(packed, packed.sizes)
    sampler = MixtureSampler(
        [range(packed.sizes["a"]), range(packed.sizes["a"], len(packed))],
        packed.lengths, batch_size=10, seed=0, mixture=[0.3, 0.7], unit="tokens",
    )  # fmt: skip
    items = data.__getitems__(np.concatenate([sampler.plan(step) for step in range(10)]).tolist())
    tokens = np.bincount([item["domain"] for item in items], [len(i["input_ids"]) for i in items])
    np.testing.assert_allclose(tokens / tokens.sum(), [0.3, 0.7], atol=0.011)


def test_a_domain_shorter_than_a_block_is_named(dataset):
    with pytest.raises(InputError, match=r"Domain 'b' has \d+ tokens, fewer than one block of 999"):
        PackedDataset(dataset, {"b": np.arange(6, 8)}, 999)
    packed = PackedDataset(dataset, {"a": np.arange(6)}, 8)
    with pytest.raises(IndexError):
        packed[len(packed)]
