"""The words of many records at once, as numbers: hashes of words, of runs of words, of wholes.

Texts are normalised: lower case, punctuation dropped, white space alike. The hashes are the same
in every process, so that they can be kept, and 64 bits wide: among a hundred million records and
a hundred thousand items two that differ agree by chance with a probability below a millionth.

Axes: w words of a batch, one record after the other; r records; a starts of runs of words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64, UInt64
from rensa import RMinHash

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_MIXER = np.uint64(0xBF58476D1CE4E5B9)  # of SplitMix64


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


@dataclass(frozen=True)
class WordBatch:
    """The words of some texts, one text after the other."""

    words: list[str]
    offsets: Int64[np.ndarray, " r_plus_1"]
    """Text i has the words from ``offsets[i]`` to ``offsets[i + 1]``."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> "WordBatch":
        """Normalise texts.

        Example:
            >>> WordBatch.of(["One two.", "", "Three"]).offsets.tolist()
            [0, 2, 2, 3]
        """
        by_text = [normalised_words(text) for text in texts]
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(words) for words in by_text], out=offsets[1:])
        return cls([word for words in by_text for word in words], offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Int64[np.ndarray, " r"]:
        """Words of each text."""
        return np.diff(self.offsets)

    def words_of(self, text: int) -> list[str]:
        """The words of one text."""
        return self.words[self.offsets[text] : self.offsets[text + 1]]

    @cached_property
    def hash_w(self) -> UInt64[np.ndarray, " w"]:
        """A hash of every word."""
        return np.array(RMinHash.hash_token_sets([self.words])[0], dtype=np.uint64)

    @cached_property
    def text_of_word_w(self) -> Int64[np.ndarray, " w"]:
        """Which text each word belongs to."""
        return np.repeat(np.arange(len(self)), self.counts)

    def runs(self, length: int) -> tuple[Int64[np.ndarray, " a"], UInt64[np.ndarray, " a"]]:
        """Every run of so many words inside one text.

        Args:
            length: Words of a run.

        Returns:
            Where each begins, among all words of the batch, and its hash.
        """
        num_starts = len(self.words) - length + 1
        if num_starts <= 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
        text_w = self.text_of_word_w
        starts_a = np.flatnonzero(text_w[:num_starts] == text_w[length - 1 :])
        hash_a = np.zeros(num_starts, dtype=np.uint64)
        for offset in range(length):
            hash_a = hash_a * _FACTOR + self.hash_w[offset : offset + num_starts]
        return starts_a, _mixed(hash_a[starts_a])

    def wholes(self) -> UInt64[np.ndarray, " r"]:
        """A hash of every text as a whole; 0 where there is no word."""
        whole_r = np.zeros(len(self), dtype=np.uint64)
        counts_r = self.counts
        has_words_r = counts_r > 0
        if not has_words_r.any():
            return whole_r
        place_w = np.arange(len(self.words)) - self.offsets[:-1][self.text_of_word_w]
        powers = np.cumprod(np.full(int(counts_r.max()), _FACTOR))
        sums = np.add.reduceat(self.hash_w * powers[place_w], self.offsets[:-1][has_words_r])
        whole_r[has_words_r] = _mixed(sums) | np.uint64(1)
        return whole_r


def _mixed(hash_a: UInt64[np.ndarray, " a"]) -> UInt64[np.ndarray, " a"]:
    """The same hashes with every bit in a part of every other."""
    hash_a = (hash_a ^ (hash_a >> np.uint64(32))) * _MIXER
    return np.asarray(hash_a ^ (hash_a >> np.uint64(29)))
