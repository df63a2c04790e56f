"""Multiple choice by likelihood, against a slow twin."""

import pytest
import torch
from tiny_task import choice_record, choice_records, tiny_model, tiny_tokenizer

from dids.data.records import Origin, Record
from dids.evaluation import choice_accuracy


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@torch.no_grad()
def slow_log_likelihood(model, tokenizer, prompt, choice):
    """Sum over the choice's tokens in float64, prompt and choice tokenised apart."""
    chat = f"<|user|>\n{prompt}\n<|assistant|>\n"
    before = tokenizer(chat, add_special_tokens=False)["input_ids"]
    after = tokenizer(choice, add_special_tokens=False)["input_ids"]
    logits = model.double()(input_ids=torch.tensor([before + after])).logits[0]
    log_p = torch.log_softmax(logits, -1)
    return sum(float(log_p[len(before) + i - 1, token]) for i, token in enumerate(after))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_accuracy_is_how_often_the_right_choice_is_likeliest(tokenizer, seed):
    model = tiny_model(len(tokenizer), seed)
    records = choice_records()
    hits = normalised = 0
    for record in records:
        scores = [slow_log_likelihood(model, tokenizer, record.prompt, c) for c in record.choices]
        shares = [s / len(c) for s, c in zip(scores, record.choices, strict=True)]
        hits += scores.index(max(scores)) == record.answer
        normalised += shares.index(max(shares)) == record.answer
    found = choice_accuracy(model.float(), tokenizer, records, sequence_length=128, batch_size=7)
    assert found.accuracy == hits / len(records)
    assert found.length_normalised_accuracy == normalised / len(records)
    assert found.num_items == len(records)


def test_accuracy_does_not_depend_on_the_batch_size(tokenizer):
    model = tiny_model(len(tokenizer))
    found = [
        choice_accuracy(model, tokenizer, choice_records(), sequence_length=128, batch_size=size)
        for size in (1, 64)
    ]
    assert found[0] == found[1]


def test_a_choice_that_the_prompt_leaves_no_room_for_is_still_scored_whole(tokenizer):
    model = tiny_model(len(tokenizer))
    long = choice_record(1, "water " * 400, ("yes", "no"), 0)
    short = choice_record(2, "water " * 60, ("yes", "no"), 0)
    found = [
        choice_accuracy(model, tokenizer, [record], sequence_length=24, batch_size=2)
        for record in (long, short)
    ]
    assert found[0] == found[1]


def test_records_without_choices_are_left_out(tokenizer):
    model = tiny_model(len(tokenizer))
    plain = Record(Origin("t.jsonl", 1), prompt="2 + 2 =", completion="4")
    assert choice_accuracy(model, tokenizer, [plain], sequence_length=64, batch_size=2) is None
