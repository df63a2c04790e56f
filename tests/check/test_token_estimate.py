"""Tokens and cut records from a draw: exact where all are drawn, near where not."""

import random

import pytest
from words_tokenizer import words_tokenizer

from dids.check.token_estimate import TokenEstimate
from dids.data.records import Message, Origin, Record
from dids.data.rendering import encode_record
from dids.data.sequence_length import fit_to_length


@pytest.fixture(scope="module")
def tokenizer():
    return words_tokenizer()


def chat(number, size):
    turns = (Message("user", "word " * 4), Message("assistant", "word " * size))
    return Record(Origin("chats.jsonl", number), messages=turns)


def true_size(records, tokenizer, length):
    pieces = [fit_to_length(encode_record(record, tokenizer), length) for record in records]
    return sum(map(len, pieces)), sum(len(p.token_ids) for some in pieces for p in some)


def estimated(records, tokenizer, length, num_drawn):
    estimate = TokenEstimate(0, num_drawn)
    for record in records:
        estimate.look(record)
    return estimate.size(tokenizer, sequence_length=length, prompt_format="chat")


def test_all_drawn_is_exact(tokenizer):
    records = [chat(n, n) for n in range(1, 40)]
    records += [Record(Origin("t.txt", 1), text="some words and more " * 30)]
    size = estimated(records, tokenizer, 32, 100)
    assert (size.samples, size.tokens) == true_size(records, tokenizer, 32)
    assert size.is_exact
    assert size.num_truncated == len(size.truncated) > 0
    assert size.truncated[0].line < size.truncated[-1].line == 39


def test_a_draw_is_near(tokenizer):
    generator = random.Random(0)
    records = [chat(n, generator.randint(1, 60)) for n in range(2000)]
    size = estimated(records, tokenizer, 64, 200)
    samples, tokens = true_size(records, tokenizer, 64)
    whole = estimated(records, tokenizer, 64, 3000)
    assert size.samples == samples
    assert size.tokens == pytest.approx(tokens, rel=0.05)
    assert size.num_truncated == pytest.approx(whole.num_truncated, rel=0.25)
    assert not size.is_exact


def test_a_long_text_is_estimated_from_its_beginning(tokenizer):
    records = [Record(Origin("book.txt", 1), text="a few words " * 10_000)]
    size = estimated(records, tokenizer, 64, 10)
    samples, tokens = true_size(records, tokenizer, 64)
    assert size.tokens == pytest.approx(tokens, rel=0.01)
    assert size.samples == pytest.approx(samples, rel=0.02)
    assert not size.is_exact
