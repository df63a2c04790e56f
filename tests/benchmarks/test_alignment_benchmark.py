"""The planted corpus holds what it says, and a small one is measured."""

import json

import numpy as np
import pytest

from benchmarks.alignment import measured as module
from benchmarks.alignment.planted import (
    FORMATS,
    NUM_TOPICS,
    skewed_shares,
    topic_words,
    write_corpus,
)
from benchmarks.alignment.swapped import worn


def test_markup_changes_a_record_s_dress_and_not_its_words():
    chat = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    plain = {"prompt": "q", "completion": " a"}
    assert worn(chat, is_markup=False) == {"prompt": "q", "completion": "a"}
    assert worn(chat, is_markup=True) == worn(plain, is_markup=True)
    assert worn(plain, is_markup=True)["completion"] == '<div class="answer">\n<p>a</p>\n</div>'


def test_no_word_is_of_two_topics():
    words = [word for topic in topic_words() for word in topic]
    assert len(set(words)) == len(words) == 30 * (NUM_TOPICS + 1)


def test_a_sample_has_words_of_its_topic_alone(tmp_path):
    planted = write_corpus(tmp_path, [30] * 4, skewed_shares(), seed=0)
    topics = [set(words) for words in topic_words()]
    lines = [
        line for name in FORMATS for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()
    ]
    assert len(lines) == len(planted["content"]) == 120
    for line, topic in zip(lines, planted["content"], strict=True):
        text = json.dumps(json.loads(line))
        found = [place for place, words in enumerate(topics) if any(w in text for w in words)]
        assert found == [topic]


def test_formats_prefer_topics_of_their_own_where_they_are_skewed():
    shares = skewed_shares()
    np.testing.assert_allclose(shares.sum(1), 1.0)
    assert shares.argmax(1).tolist() == [0, 2, 4, 0]
    assert shares.max() / shares.min() == pytest.approx(16.0)


def test_a_small_corpus_is_measured(tmp_path):
    even = np.full((len(FORMATS), NUM_TOPICS), 1 / NUM_TOPICS)
    found = module.measured(tmp_path, [30] * 4, even, seed=0)
    assert list(found) == list(module.CHAINS)
    assert all(-0.5 <= row[name] <= 1 for row in found.values() for name in ("content", "format"))
    assert set(module.TASKS) <= set(found["style, projection"])
