"""A leak is found whatever its dress, and nothing else is taken for one."""

import random
import tracemalloc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.check.containment import NgramIndex
from dids.check.leaks import CONTAINMENT, MIN_CONTAINED_WORDS, LeakGuard, keep_best
from dids.check.words import WordBatch, normalised_words
from dids.data.readers import read_records
from dids.data.records import Message, Origin, Record
from dids.data.sources import SourceFiles

PLACE = Origin("file.jsonl", 1)
QUIZ = ("quiz", "test")
LONG = "How many apples has Ann after lunch?"


def text(words):
    return Record(PLACE, text=words)


def asked(prompt, completion=None):
    return Record(PLACE, prompt=prompt, completion=completion)


def chat(*contents):
    roles = ("user", "assistant") * len(contents)
    return Record(PLACE, messages=tuple(map(Message, roles, contents)))


def hits(guard, records):
    batch = WordBatch.of([" ".join(record.texts) for record in records])
    return guard.hits([record.origin for record in records], batch)


def leaks(items, records, kind="verbatim"):
    guard = LeakGuard()
    guard.add(QUIZ, items)
    return len({hit.item for hit in hits(guard, records) if hit.kind == kind})


@pytest.mark.parametrize(
    ("item", "record"),
    [
        (asked(LONG, "Three."), asked(LONG, "Three.")),
        (asked(LONG, "Three."), chat("HOW many apples\nhas Ann -- after lunch", "I do not know")),
        (asked(LONG, "Three."), text(f"Quiz of the day. {LONG} Write to us!")),
        (asked(LONG), chat("Question: " + LONG, "Four")),
        (asked("Two plus two?", "four"), chat("two plus two", "Four.")),
        (text("One two three four five six"), text("zero, one two three four five six seven")),
        (text("so short"), text("So: short!")),
        (chat(LONG, "Three."), text(f"{LONG} Three.")),
        (chat(LONG, "Three."), chat(LONG, "Four.")),
    ],
)
def test_leak_is_found_whatever_its_dress(item, record):
    assert leaks([item], [record]) == 1


@pytest.mark.parametrize(
    ("item", "record"),
    [
        (asked(LONG, "Three."), chat("How many apples has Ann after tea?", "Three.")),
        (asked("Two plus two?", "four"), chat("Two plus two?", "Five, of course.")),
        (asked("Two plus two?", "four"), text("Well: two plus two? four. That was easy.")),
        (text("so short"), text("it was so short")),
        (text("One two three four five six"), text("one two three four five sixty")),
    ],
)
def test_likeness_is_no_leak(item, record):
    assert leaks([item], [record]) == 0


def test_items_are_counted_once_however_often_they_stand_there():
    items = [asked(LONG, "Three."), asked("Two plus two?", "four")]
    assert leaks(items, [text(f"{LONG} {LONG}"), text(LONG), text("nothing of it")]) == 1


def test_equal_items_are_all_counted():
    assert leaks([asked(LONG, "3"), asked(LONG, "4")], [text(LONG)]) == 2


def test_a_hit_says_which_item_and_which_record():
    guard = LeakGuard()
    guard.add(("quiz", "validation"), [asked(LONG, "Three.")])
    guard.add(("quiz", "test"), [asked("Where did he go on that day?", "Home.")])
    records = [
        Record(Origin("web.jsonl", 3), text="nothing of it"),
        Record(Origin("web.jsonl", 5), text="Where did he go on that day?"),
    ]
    (hit,) = hits(guard, records)
    assert guard.items[hit.item].group == ("quiz", "test")
    assert (hit.record.line, hit.share) == (5, 1.0)


def test_records_without_words_hold_nothing():
    assert leaks([text("..."), asked("?", "!")], [text("---"), text("")]) == 0


WORDS = st.lists(st.sampled_from("ab"), max_size=14)


@given(items=st.lists(WORDS, min_size=1, max_size=4), record=WORDS)
def test_agrees_with_comparing_every_pair(items, record):
    spaced = " ".join(record)
    expected = sum(
        (bool(item) and item == record)
        or (len(item) >= MIN_CONTAINED_WORDS and f" {' '.join(item)} " in f" {spaced} ")
        for item in items
    )
    assert leaks([text(" ".join(item)) for item in items], [text(spaced)]) == expected


def test_words_of_any_script_are_words():
    assert normalised_words("Ça va, Ünal? 你好!") == ["ça", "va", "ünal", "你好"]


def sentence(number, size):
    """Words that stand in no other sentence."""
    return [f"w{number}x{place}" for place in range(size)]


@pytest.mark.parametrize(("size", "kept", "share"), [(40, 20, 0.5), (40, 13, 0.325), (30, 30, 1)])
def test_share_is_that_of_the_words_in_shared_ngrams(size, kept, share):
    words = sentence(0, size)
    record = [*sentence(1, 9), *words[:kept], *sentence(2, 9)]
    # The completion makes the whole longer than the prompt, of which the share is greater.
    item = asked(" ".join(words), " ".join(sentence(3, 15)))
    guard = LeakGuard()
    guard.add(QUIZ, [item])
    (hit,) = hits(guard, [text(" ".join(record))])
    assert hit.share == pytest.approx(share)
    assert hit.kind == ("verbatim" if kept == size else "ngrams")


def test_twelve_words_in_a_row_are_no_ngram_of_thirteen():
    words = sentence(0, 40)
    record = [*words[:12], "other", *words[13:25], "other", *words[26:38]]
    assert leaks([asked(" ".join(words))], [text(" ".join(record))], "ngrams") == 0


def test_a_leaked_answer_is_found_without_its_question():
    answer = " ".join(sentence(0, 60))
    item = asked("Explain why this is so in your own words, please.", answer)
    assert leaks([item], [text(f"As I said: {answer}")], "ngrams") == 1


def test_parts_in_two_records_do_not_add_up():
    words = sentence(0, 60)
    guard = LeakGuard()
    guard.add(QUIZ, [asked(" ".join(words))])
    halves = [text(" ".join(words[:25])), text(" ".join(words[25:]))]
    # The two stand in one file and line here, and the better is kept.
    assert [hit.share for hit in hits(guard, halves)] == pytest.approx([35 / 60])


def test_what_more_than_ten_items_have_in_common_is_their_form():
    form = " ".join(sentence(0, 30))
    items = [asked(f"{form} {' '.join(sentence(n, 20))}") for n in range(1, 12)]
    assert leaks(items, [text(form)], "ngrams") == 0
    assert leaks(items[:10], [text(form)], "ngrams") == 10


WORD = st.sampled_from("abc")


@given(
    passage=st.lists(WORD, min_size=1, max_size=30), record=st.lists(WORD, max_size=30),
    size=st.integers(2, 6),
)  # fmt: skip
def test_share_agrees_with_marking_every_word(passage, record, size):
    runs = {tuple(record[i : i + size]) for i in range(len(record) - size + 1)}
    covered, own = set(), set()
    for start in range(len(passage) - size + 1):
        own |= set(range(start, start + size))
        if tuple(passage[start : start + size]) in runs:
            covered |= set(range(start, start + size))
    index = NgramIndex([" ".join(passage)], np.zeros(1, dtype=np.int64), size)
    found = list(index.contained(WordBatch.of(["", " ".join(record)])))
    assert len(found) == bool(covered)
    for contained in found:
        assert (contained.record, contained.passage) == (1, 0)
        assert contained.share == pytest.approx(len(covered) / len(own))


def mutated(words, num_changes, generator):
    """The same words, some replaced by others."""
    changed = list(words)
    for place in generator.sample(range(len(words)), num_changes):
        changed[place] = f"changed{place}"
    return changed


def covered_share(words, record, size):
    """What the share should be, by trying every run."""
    runs = {tuple(record[i : i + size]) for i in range(len(record) - size + 1)}
    starts = [i for i in range(len(words) - size + 1) if tuple(words[i : i + size]) in runs]
    return len({start + i for start in starts for i in range(size)}) / len(words)


@pytest.mark.parametrize(
    ("ngram_words", "num_changes", "recall"),
    # 60 words, some changed at random places: the share of such leaks that is found.
    [(13, 1, 1.0), (13, 3, 0.995), (13, 6, 0.585), (8, 6, 0.975), (13, 12, 0.01), (8, 12, 0.145)],
)
def test_recall_of_changed_items(ngram_words, num_changes, recall):
    generator = random.Random(0)
    items = [sentence(n, 60) for n in range(200)]
    guard = LeakGuard(ngram_words)
    guard.add(QUIZ, [asked(" ".join(words)) for words in items])
    records = [
        [*sentence(1000 + n, 50), *mutated(words, num_changes, generator)]
        for n, words in enumerate(items)
    ]
    share_by_item = {
        hit.item: hit.share for hit in hits(guard, [text(" ".join(r)) for r in records])
    }
    for number, (words, record) in enumerate(zip(items, records, strict=True)):
        expected = covered_share(words, record, ngram_words)
        assert share_by_item.get(number, 0.0) == pytest.approx(expected)
    found = sum(share >= CONTAINMENT for share in share_by_item.values())
    assert found / len(items) == recall


def test_clean_records_of_the_same_vocabulary_are_no_leaks():
    generator = random.Random(0)
    vocabulary = [f"word{number}" for number in range(300)]
    lines = [" ".join(generator.choices(vocabulary, k=50)) for _ in range(4000)]
    guard = LeakGuard()
    guard.add(QUIZ, [asked(line) for line in lines[:1000]])
    assert hits(guard, [text(line) for line in lines[1000:]]) == []


def test_memory_does_not_grow_with_the_training_records():
    guard = LeakGuard()
    guard.add(QUIZ, [asked(LONG, "Three.")])

    def peak(num_batches):
        best = {}
        tracemalloc.start()
        try:
            for _ in range(num_batches):
                for hit in hits(guard, [text(f"{n} {LONG} ") for n in range(100)]):
                    keep_best(best, hit.item, hit)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    assert peak(20) < peak(2) + 20_000


def test_the_instruct_pack_has_one_leak_in_other_words(instruct_pack):
    guard = LeakGuard()
    for split in ("validation", "test"):
        path = instruct_pack / "tasks" / "gsm8k" / f"{split}.jsonl.gz"
        guard.add(("gsm8k", split), records_of(path, "task"))
    source = instruct_pack / "train" / "gsm8k_train.jsonl.gz"
    records = list(islice(records_of(source, "train"), 2000))
    (hit,) = [hit for hit in hits(guard, records) if hit.share >= CONTAINMENT]
    assert (hit.kind, hit.record.line) == ("ngrams", 1332)
    assert guard.items[hit.item].group == ("gsm8k", "test")


def records_of(path: Path, purpose):
    return read_records(SourceFiles(path.name, (str(path),)), purpose=purpose)
