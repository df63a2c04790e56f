"""A leak is found whatever its dress, and nothing else is taken for one."""

import time
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.data.leaks import MIN_CONTAINED_WORDS, LeakGuard, normalised_words
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


def leaks(items, records):
    guard = LeakGuard()
    guard.add(QUIZ, items)
    list(guard.watched("web", records))
    return guard.counts().get(QUIZ, {}).get("web", 0)


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


def test_tasks_splits_and_sources_are_told_apart():
    guard = LeakGuard()
    guard.add(("quiz", "validation"), [asked(LONG, "Three.")])
    guard.add(("quiz", "test"), [asked("Where did he go on that day?", "Home.")])
    list(guard.watched("web", [text(LONG)]))
    list(guard.watched("books", [text("where did he go on that day"), text(LONG)]))
    assert guard.counts() == {
        ("quiz", "validation"): {"web": 1, "books": 1},
        ("quiz", "test"): {"books": 1},
    }


def test_records_pass_unchanged_and_one_at_a_time():
    taken = []

    def records():
        for number in range(3):
            taken.append(number)
            yield text(f"text {number}")

    guard = LeakGuard()
    watched = guard.watched("web", records())
    assert next(watched) == text("text 0")
    assert taken == [0]
    assert [record.text for record in watched] == ["text 1", "text 2"]


WORDS = st.lists(st.sampled_from("ab"), max_size=14)


@given(items=st.lists(WORDS, min_size=1, max_size=4), record=WORDS)
def test_agrees_with_comparing_every_pair(items, record):
    spaced = " ".join(record)
    expected = sum(
        item == record
        or (len(item) >= MIN_CONTAINED_WORDS and f" {' '.join(item)} " in f" {spaced} ")
        for item in items
    )
    assert leaks([text(" ".join(item)) for item in items], [text(spaced)]) == expected


def test_words_of_any_script_are_words():
    assert normalised_words("Ça va, Ünal? 你好!") == ["ça", "va", "ünal", "你好"]


def test_memory_does_not_grow_with_the_training_records():
    guard = LeakGuard()
    guard.add(QUIZ, [asked(LONG, "Three.")])

    def peak(num_records):
        tracemalloc.start()
        try:
            for _ in guard.watched("web", (text(f"{n} {LONG} ") for n in range(num_records))):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(500) < peak(50) + 20_000


def test_the_instruct_pack_has_no_leak(instruct_pack):
    guard = LeakGuard()
    for split in ("validation", "test"):
        path = instruct_pack / "tasks" / "gsm8k" / f"{split}.jsonl.gz"
        guard.add(("gsm8k", split), records_of(path, "task"))
    source = instruct_pack / "train" / "gsm8k_train.jsonl.gz"
    records = list(islice(records_of(source, "train"), 2000))
    began_s = time.process_time()
    list(guard.watched("gsm8k_train", records))
    elapsed_s = time.process_time() - began_s
    assert guard.counts() == {}
    # All 89,273 records of the pack take 6 s of a busy core without the checks of shapes.
    assert elapsed_s < 5


def records_of(path: Path, purpose):
    return read_records(SourceFiles(path.name, (str(path),)), purpose=purpose)
