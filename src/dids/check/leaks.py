"""A guard against leaks: items of a task that also stand among the training records.

A training record holds an item verbatim if it is the same text, or if the item's prompt (of a text:
all of it), six words long or longer, stands somewhere in it; and by n-grams if enough of the prompt
or of the whole item lies in runs of words that the record has too (`containment`). Of the items
their hashes are kept; training records pass by in batches, so memory does not grow with them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np

from dids.check.containment import NgramIndex
from dids.check.run_index import RunIndex
from dids.check.task_items import Group, TaskItem, task_items
from dids.check.words import WordBatch, normalised_words
from dids.data.records import Origin, Record

MIN_CONTAINED_WORDS = 6
"""Shorter prompts stand in other texts by chance; there the whole item must be the same."""

NGRAM_WORDS = 13
CONTAINMENT = 0.5
"""Share of an item's words in shared n-grams from which on it counts as leaked."""

Kind = Literal["verbatim", "ngrams"]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Hit:
    """A task's item that a training record holds, or part of it."""

    item: int
    """Its number among all items."""
    kind: Kind
    share: float
    """Of the item's words, those that stand in the record."""
    record: Origin

    @property
    def worth(self) -> tuple[bool, float]:
        """What decides between two records that hold the same item."""
        return self.kind == "verbatim", self.share

    def is_leak(self, containment: float) -> bool:
        """Whether enough of the item stands in the record."""
        return self.kind == "verbatim" or self.share >= containment


class LeakGuard:
    """Knows the tasks' items and finds them among training records.

    Args:
        ngram_words: Words of an n-gram.

    Example:
        >>> guard = LeakGuard()
        >>> item = Record(Origin("test.jsonl", 1), prompt="Who wrote it?", completion="She did.")
        >>> guard.add(("quiz", "test"), [item])
        >>> leaked = Record(Origin("web.jsonl", 8), text="Who wrote it?  She did!")
        >>> guard.hits([leaked.origin], WordBatch.of([leaked.text]))
        [Hit(item=0, kind='verbatim', share=1.0, record=Origin(file='web.jsonl', line=8))]
    """

    def __init__(self, ngram_words: int = NGRAM_WORDS) -> None:
        self.items: list[TaskItem] = []
        self._ngram_words = ngram_words

    def add(self, group: Group, items: Iterable[Record]) -> None:
        """Learn a task's items, before anything is looked up.

        Args:
            group: The task and its split.
            items: Its records, read once.
        """
        self.items += task_items(group, items)

    def hits(self, origins: Sequence[Origin], batch: WordBatch) -> list[Hit]:
        """The items that training records hold, or a part of.

        Args:
            origins: Where the records of the batch were read.
            batch: Their words.

        Returns:
            One hit for every record and item, the better of those by text and by n-grams.
        """
        best: dict[tuple[Origin, int], Hit] = {}
        for hit in (*self._verbatim(origins, batch), *self._by_ngrams(origins, batch)):
            keep_best(best, (hit.record, hit.item), hit)
        return list(best.values())

    def _verbatim(self, origins: Sequence[Origin], batch: WordBatch) -> Iterator[Hit]:
        whole_r = batch.wholes()
        for record, number in zip(*self._wholes.matches(whole_r), strict=True):
            if whole_r[record] != 0:  # without a word there is nothing to be the same
                for item in self._whole_items[number]:
                    yield Hit(item, "verbatim", 1.0, origins[record])
        start_a, hash_a = batch.runs(MIN_CONTAINED_WORDS)
        for run, number in zip(*self._anchors.matches(hash_a), strict=True):
            start = int(start_a[run])
            record = int(batch.text_of_word_w[start])
            passage = self._passages[number]
            stop = start + passage.num_words
            if stop <= batch.offsets[record + 1] and (
                _digest(batch.words[start:stop]) == passage.digest
            ):
                yield Hit(passage.item, "verbatim", 1.0, origins[record])

    def _by_ngrams(self, origins: Sequence[Origin], batch: WordBatch) -> Iterator[Hit]:
        _, item_p = self._ngram_passages
        for found in self._ngrams.contained(batch):
            item = int(item_p[found.passage])
            yield Hit(item, "ngrams", found.share, origins[found.record])

    @cached_property
    def _whole_items(self) -> list[list[int]]:
        """Items that are the same text."""
        by_words: dict[bytes, list[int]] = {}
        for number, item in enumerate(self.items):
            by_words.setdefault(_digest(normalised_words(item.whole)), []).append(number)
        return list(by_words.values())

    @cached_property
    def _wholes(self) -> RunIndex:
        texts = [self.items[numbers[0]].whole for numbers in self._whole_items]
        return RunIndex(WordBatch.of(texts).wholes())

    @cached_property
    def _passages(self) -> list["_Passage"]:
        words = [normalised_words(item.prompt) for item in self.items]
        return [
            _Passage(number, len(some), _digest(some))
            for number, some in enumerate(words)
            if len(some) >= MIN_CONTAINED_WORDS
        ]

    @cached_property
    def _anchors(self) -> RunIndex:
        """The first six words of each passage."""
        batch = WordBatch.of([self.items[passage.item].prompt for passage in self._passages])
        start_a, hash_a = batch.runs(MIN_CONTAINED_WORDS)
        return RunIndex(hash_a[np.isin(start_a, batch.offsets[:-1])])

    @cached_property
    def _ngram_passages(self) -> tuple[list[str], np.ndarray]:
        """Prompts, and whole items where they differ from them, with the item of each."""
        pairs = [
            (text, number)
            for number, item in enumerate(self.items)
            for text in dict.fromkeys((item.prompt, item.whole))
        ]
        return [text for text, _ in pairs], np.array([n for _, n in pairs], dtype=np.int64)

    @cached_property
    def _ngrams(self) -> NgramIndex:
        return NgramIndex(*self._ngram_passages, self._ngram_words)


@dataclass(frozen=True)
class _Passage:
    item: int
    num_words: int
    digest: bytes


def keep_best(best: dict[Key, Hit], key: Key, hit: Hit) -> None:
    """Note a hit unless a better one of the same key is known; of equals the first stays."""
    if key not in best or hit.worth > best[key].worth:
        best[key] = hit


def _digest(words: list[str]) -> bytes:
    return hashlib.blake2b(" ".join(words).encode(), digest_size=16).digest()
