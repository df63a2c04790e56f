"""A guard against leaks: items of a task that also stand among the training records.

Both sides are normalised: lower case, punctuation dropped, white space alike. A training record
holds an item if it is the same text, or if the item's prompt (of a text: all of it), six words long
or longer, stands somewhere in it. Of the items their hashes are kept; training records stream
past, so memory does not grow with them.

Axes: w words of a record, a starts of windows of six words.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import UInt64

from dids.data.records import Record

MIN_CONTAINED_WORDS = 6
"""Shorter prompts stand in other texts by chance; there the whole item must be the same."""

# A window's first look-up is in a table of bits: 2 MiB, of which 10,000 items fill half a percent.
_TABLE_BITS = 21
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

Group = tuple[str, str]
"""A task and its split."""
_Item = tuple[Group, int]


class _SpaceForPunctuation(dict[int, str]):
    """A table for ``str.translate``, filled as characters come; twice as fast as a search."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = character if character.isalnum() else " "
        return self[code]


_LETTERS_ONLY = _SpaceForPunctuation()


def normalised_words(text: str) -> list[str]:
    """The words of a text, lower-cased, without punctuation.

    Example:
        >>> normalised_words("Don't  PANIC, it's_only 42!")
        ['don', 't', 'panic', 'it', 's', 'only', '42']
    """
    return text.lower().translate(_LETTERS_ONLY).split()


class LeakGuard:
    """Knows the tasks' items, looks at training records as they pass, and counts what it finds.

    Example:
        >>> from dids.data.records import Origin
        >>> guard = LeakGuard()
        >>> item = Record(Origin("test.jsonl", 1), prompt="Who wrote it?", completion="She did.")
        >>> guard.add(("quiz", "test"), [item])
        >>> leaked = Record(Origin("web.jsonl", 8), text="Who wrote it?  She did!")
        >>> list(guard.watched("web", [leaked])) == [leaked], guard.counts()
        (True, {('quiz', 'test'): {'web': 1}})
    """

    def __init__(self) -> None:
        self._wholes: defaultdict[bytes, list[_Item]] = defaultdict(list)
        self._whole_lengths: set[int] = set()
        # By the hash of its first six words: length, digest and item of each passage.
        self._passages: defaultdict[int, list[tuple[int, bytes, _Item]]] = defaultdict(list)
        self._table = np.zeros(1 << _TABLE_BITS, dtype=bool)
        self._found: defaultdict[Group, defaultdict[str, set[int]]] = defaultdict(
            lambda: defaultdict(set)
        )

    def add(self, group: Group, items: Iterable[Record]) -> None:
        """Learn a task's items.

        Args:
            group: The task and its split.
            items: Its records, read once.
        """
        for number, record in enumerate(items):
            passage, whole = _item_texts(record)
            words = normalised_words(whole)
            self._wholes[_digest(words)].append((group, number))
            self._whole_lengths.add(len(words))
            words = normalised_words(passage)
            if len(words) >= MIN_CONTAINED_WORDS:
                anchor = _window_hashes(words[:MIN_CONTAINED_WORDS])
                self._passages[int(anchor[0])].append((len(words), _digest(words), (group, number)))
                self._table[_places(anchor)] = True

    def watched(self, source: str, records: Iterable[Record]) -> Iterator[Record]:
        """Pass a source's records on, looking at each.

        Args:
            source: The source's name.
            records: Its records.

        Yields:
            The records as they came.
        """
        for record in records:
            for group, number in self._held_by(_training_text(record)):
                self._found[group][source].add(number)
            yield record

    def counts(self) -> dict[Group, dict[str, int]]:
        """How many items of each task and split were found in each source, where any were."""
        return {
            group: {source: len(numbers) for source, numbers in by_source.items()}
            for group, by_source in self._found.items()
        }

    def _held_by(self, text: str) -> Iterator[_Item]:
        words = normalised_words(text)
        if len(words) in self._whole_lengths:
            yield from self._wholes.get(_digest(words), ())
        if len(words) < MIN_CONTAINED_WORDS:
            return
        window_a = _window_hashes(words)
        for start in np.flatnonzero(self._table[_places(window_a)]).tolist():
            for length, digest, item in self._passages.get(int(window_a[start]), ()):
                if _digest(words[start : start + length]) == digest:
                    yield item


def _window_hashes(words: list[str]) -> UInt64[np.ndarray, " a"]:
    """Hashes of every six words in a row. They differ between processes and are never kept."""
    word_w = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    num_windows = len(words) - MIN_CONTAINED_WORDS + 1
    window_a = np.zeros(num_windows, dtype=np.uint64)
    for offset in range(MIN_CONTAINED_WORDS):
        window_a = window_a * _FACTOR + word_w[offset : offset + num_windows]
    return window_a


def _places(window_a: UInt64[np.ndarray, " a"]) -> UInt64[np.ndarray, " a"]:
    """Where windows stand in the table: the high bits, which every word has a part in."""
    return np.asarray((window_a * _FACTOR) >> np.uint64(64 - _TABLE_BITS))


def _digest(words: list[str]) -> bytes:
    return hashlib.blake2b(" ".join(words).encode(), digest_size=16).digest()


def _item_texts(record: Record) -> tuple[str, str]:
    """What must not stand inside a training record, and what must not be one."""
    if record.text is not None:
        return record.text, record.text
    if record.messages is not None:
        answers = [i for i, message in enumerate(record.messages) if message.role == "assistant"]
        before = record.messages[: answers[-1]]
        return " ".join(message.content for message in before), _training_text(record)
    return record.prompt or "", _training_text(record)


def _training_text(record: Record) -> str:
    if record.text is not None:
        return record.text
    if record.messages is not None:
        return " ".join(message.content for message in record.messages)
    return " ".join(part for part in (record.prompt, record.completion) if part is not None)
