"""Hashes of words and runs: the same for the same words, in any batch, and for no others."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dids.check.run_index import RunIndex
from dids.check.words import WordBatch, normalised_words

TEXTS = st.lists(st.lists(st.sampled_from(["a", "b", "cat"]), max_size=8).map(" ".join), max_size=6)


def test_words_of_any_script_are_words():
    assert normalised_words("Ça va, Ünal? 你好!") == ["ça", "va", "ünal", "你好"]


@given(texts=TEXTS, length=st.integers(1, 5))
def test_runs_have_equal_hashes_exactly_where_their_words_are_equal(texts, length):
    batch = WordBatch.of(texts)
    start_a, hash_a = batch.runs(length)
    expected = [
        tuple(words[i : i + length])
        for words in map(str.split, texts)
        for i in range(len(words) - length + 1)
    ]
    found = [tuple(batch.words[start : start + length]) for start in start_a.tolist()]
    assert found == expected
    assert len(set(hash_a.tolist())) == len(set(expected))


@given(texts=TEXTS)
def test_wholes_are_equal_exactly_where_texts_are(texts):
    whole_r = WordBatch.of(texts).wholes()
    assert len(set(whole_r.tolist())) == len(set(texts))
    assert [whole == 0 for whole in whole_r.tolist()] == [text == "" for text in texts]
    alone = [int(WordBatch.of([text]).wholes()[0]) for text in texts]
    assert whole_r.tolist() == alone


def test_order_and_length_change_a_whole():
    texts = ["a b", "b a", "a", "a a", "a a a", "b"]
    assert len(set(WordBatch.of(texts).wholes().tolist())) == len(texts)


def test_hashes_are_the_same_in_another_process():
    code = (
        "from dids.check.words import WordBatch; b = WordBatch.of(['one two three']);"
        "print(b.wholes()[0], b.runs(2)[1].tolist())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    batch = WordBatch.of(["one two three"])
    assert runs == {f"{batch.wholes()[0]} {batch.runs(2)[1].tolist()}\n"}


@given(
    entries=st.lists(st.integers(0, 20), max_size=12),
    asked=st.lists(st.integers(0, 20), max_size=12),
)
def test_index_matches_as_a_double_loop_does(entries, asked):
    # The high bits decide where a hash stands in the table: spread the numbers over them.
    spread = np.uint64(0x0CCCCCCCCCCCCCCC)
    hashes, queries = (np.array(x, dtype=np.uint64) * spread for x in (entries, asked))
    run_m, entry_m = RunIndex(hashes).matches(queries)
    expected = [(r, e) for r, a in enumerate(asked) for e, b in enumerate(entries) if a == b]
    assert list(zip(run_m.tolist(), entry_m.tolist(), strict=True)) == expected
