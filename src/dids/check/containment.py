"""How much of an item stands in a training record: the share of its words inside shared n-grams.

The n-gram rule of the field: thirteen words in a row (Brown et al. 2020, arXiv:2005.14165, appendix
C), a share of the item rather than any one n-gram (Chowdhery et al. 2022, arXiv:2204.02311; Touvron
et al. 2023, arXiv:2307.09288; Lambert et al. 2024, arXiv:2411.15124, who ask for half of it in the
same record). N-grams that more than ten items have in common are their form, not their content,
and do not count.

Axes: p passages; e entries, the n-grams of all passages; m matches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Shaped

from dids.check.run_index import RunIndex
from dids.check.words import WordBatch

MAX_ITEMS_OF_AN_NGRAM = 10


@dataclass(frozen=True)
class Containment:
    """A passage of which a record holds a part."""

    record: int
    """Its number in the batch."""
    passage: int
    share: float
    """Of the passage's words, those counted that n-grams of its own cover."""


class NgramIndex:
    """The n-grams of passages.

    Args:
        passages: Texts to ask for.
        item_p: The item that each belongs to.
        ngram_words: Words of an n-gram. Shorter passages are never found.
    """

    def __init__(
        self, passages: Sequence[str], item_p: Int64[np.ndarray, " p"], ngram_words: int
    ) -> None:
        self._ngram_words = ngram_words
        batch = WordBatch.of(passages)
        start_e, hash_e = batch.runs(ngram_words)
        passage_e = batch.text_of_word_w[start_e] if len(start_e) else start_e
        is_own_e = ~_is_common(hash_e, item_p[passage_e])
        self._passage_e = passage_e[is_own_e]
        self._place_e = start_e[is_own_e] - batch.offsets[self._passage_e]
        self._index = RunIndex(hash_e[is_own_e])
        covered = _covered_words(self._passage_e, self._place_e, ngram_words)
        self._size_p = np.zeros(len(passages), dtype=np.int64)
        for passage, size in covered:
            self._size_p[passage] = size

    def contained(self, batch: WordBatch) -> Iterator[Containment]:
        """The passages that each record of a batch holds a part of.

        Args:
            batch: Words of training records.

        Yields:
            One for every record and passage with an n-gram in common.
        """
        start_a, hash_a = batch.runs(self._ngram_words)
        run_m, entry_m = self._index.matches(hash_a)
        if len(run_m) == 0:
            return
        record_m = batch.text_of_word_w[start_a[run_m]]
        # Record and passage as one number: a batch has far fewer than 2^31 of either.
        pair_m = (record_m << 32) | self._passage_e[entry_m]
        place_m = self._place_e[entry_m]
        order_m = np.lexsort((place_m, pair_m))
        for pair, size in _covered_words(pair_m[order_m], place_m[order_m], self._ngram_words):
            passage = pair & 0xFFFFFFFF
            yield Containment(pair >> 32, passage, size / int(self._size_p[passage]))


def _is_common(
    hash_e: Shaped[np.ndarray, " e"], item_e: Int64[np.ndarray, " e"]
) -> Shaped[np.ndarray, " e"]:
    """Whether more than ten items have each entry's n-gram."""
    if len(hash_e) == 0:
        return np.zeros(0, dtype=bool)
    order_e = np.lexsort((item_e, hash_e))
    sorted_e, items = hash_e[order_e], item_e[order_e]
    is_new_hash = np.append(True, sorted_e[1:] != sorted_e[:-1])
    is_new_item = is_new_hash | np.append(True, items[1:] != items[:-1])
    number_e = np.cumsum(is_new_hash) - 1
    num_items = np.bincount(number_e, weights=is_new_item)
    result = np.empty(len(hash_e), dtype=bool)
    result[order_e] = num_items[number_e] > MAX_ITEMS_OF_AN_NGRAM
    return result


def _covered_words(
    group_m: Int64[np.ndarray, " m"], place_m: Int64[np.ndarray, " m"], ngram_words: int
) -> Iterator[tuple[int, int]]:
    """How many words the n-grams of each group cover; both sorted by group, then place."""
    if len(group_m) == 0:
        return
    is_first_m = np.append(True, group_m[1:] != group_m[:-1])
    step_m = np.append(ngram_words, np.diff(place_m))
    new_m = np.where(is_first_m, ngram_words, np.minimum(step_m, ngram_words))
    first = np.flatnonzero(is_first_m)
    yield from zip(group_m[first].tolist(), np.add.reduceat(new_m, first).tolist(), strict=True)
