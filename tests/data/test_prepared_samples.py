"""Batches of a Trainer's collator as gradients are taken of them."""

import numpy as np
import pytest
import torch
from transformers import DataCollatorWithFlattening

from dids.data.joined_row import LENGTHS, LengthsCollator
from dids.data.prepared_samples import PreparedSamples, RowCollator, looked_at
from dids.errors import InputError

ITEMS = [
    {"input_ids": list(range(1, n + 1)), "labels": [-100, *range(2, n + 1)]} for n in (3, 5, 2)
]
PADDED = {
    "input_ids": [[1, 2, 3, 0, 0], [1, 2, 3, 4, 5], [1, 2, 0, 0, 0]],
    "labels": [[-100, 2, 3, -100, -100], [-100, 2, 3, 4, 5], [-100, 2, -100, -100, -100]],
    "attention_mask": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]],
}


def copies(items=None):
    return [dict(item) for item in items or ITEMS]


def rows(collate, items=None):
    found = RowCollator(collate, "the training set")(copies(items))
    return {name: tensor.tolist() for name, tensor in found.items()}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"return_position_ids": False, "return_flash_attn_kwargs": True},
        {"return_seq_idx": True},
    ],
)
def test_samples_of_one_row_have_rows_of_their_own(settings):
    assert rows(DataCollatorWithFlattening(**settings)) == PADDED


def test_what_follows_the_last_sample_is_no_sample():
    def longer(items):
        batch = DataCollatorWithFlattening()(items)
        return {
            name: torch.cat([row, torch.zeros(1, 4, dtype=int)], 1) for name, row in batch.items()
        }

    assert rows(longer) == PADDED


def padded(items, positions):
    width = max(len(item["input_ids"]) for item in items)
    widened = {"input_ids": 0, "labels": -100, "attention_mask": 0, "position_ids": 0}
    for item, position in zip(items, positions, strict=True):
        item |= {"attention_mask": [1] * len(item["input_ids"]), "position_ids": position}
    return {
        name: torch.tensor([item[name] + [fill] * (width - len(item[name])) for item in items])
        for name, fill in widened.items()
    }


def test_positions_that_go_from_first_to_last_are_left_out():
    assert rows(lambda items: padded(items, [range_of(3), range_of(5), range_of(2)])) == PADDED


def range_of(*lengths):
    return [place for length in lengths for place in range(length)]


def test_positions_of_documents_come_along():
    positions = [range_of(3), range_of(2, 3), range_of(1, 1)]
    found = rows(lambda items: padded(items, positions))
    assert found.pop("position_ids") == [[0, 1, 2, 0, 0], [0, 1, 0, 1, 2], [0, 0, 0, 0, 0]]
    assert found == PADDED


def by_documents(items):
    """Each item of two documents, in one row, as TRL makes it of packed rows."""
    batch = DataCollatorWithFlattening()(items)
    ends = np.cumsum([len(item["input_ids"]) for item in items])
    for end in ends:
        batch["position_ids"][0, end - 1] = 0
    return batch


def test_rows_of_documents_are_noticed_and_alone_they_have_no_mask():
    samples = PreparedSamples(ITEMS, np.ones(3))
    for collate, expected in ((by_documents, True), (DataCollatorWithFlattening(), False)):
        look = looked_at(samples, RowCollator(collate, "the training set"), np.arange(3))
        assert look.has_documents is expected
        assert look.tokens_m.tolist() == [3, 5, 2]
        assert look.scored_m.tolist() == [2, 4, 1]
    assert rows(by_documents, ITEMS[1:2]) == {
        "input_ids": [[1, 2, 3, 4, 5]],
        "labels": [[-100, 2, 3, 4, 5]],
        "position_ids": [[0, 1, 2, 3, 0]],
    }


def without(name):
    def collate(items):
        batch = DataCollatorWithFlattening()(items)
        del batch[name]
        return batch

    return collate


def cut(items):
    return {name: row[:, :8] for name, row in DataCollatorWithFlattening()(items).items()}


def turned(items):
    return DataCollatorWithFlattening()(items[::-1])


def from_the_sample_before(items):
    return DataCollatorWithFlattening(separator_id=7)(items)


@pytest.mark.parametrize(
    ("collate", "message"),
    [
        (without("labels"), "the training set: its batches have no labels"),
        (without("position_ids"), "makes 1 rows of 3 samples; .* with position_ids that say where"),
        (cut, "one row of 8 tokens of 3 samples that have 10 input_ids, in another order or cut"),
        (turned, "one row of 10 tokens of 3 samples that have 10 input_ids, in another order"),
        (from_the_sample_before, "the first token of a sample has a label, .* its label must be"),
    ],
)
def test_samples_that_cannot_be_told_apart_are_refused(collate, message):
    with pytest.raises(InputError, match=message):
        rows(collate)


def test_a_batch_of_one_row_says_how_long_its_samples_are():
    def popping(items):
        return DataCollatorWithFlattening()(
            [{"input_ids": item.pop("input_ids")} for item in items]
        )

    batch = LengthsCollator(popping)(copies())
    assert batch[LENGTHS] == [3, 5, 2]
    assert LENGTHS not in LengthsCollator(popping)(copies(ITEMS[:1]))
