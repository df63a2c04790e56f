import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dids.domains import FeatureSource
from dids.domains.ngram_vectors import LOG_BUCKETS, MAX_ORDER, NgramVectors


class Texts:
    """Scored tokens in memory."""

    def __init__(self, texts):
        self.texts = [np.array(text, dtype=np.int64) for text in texts]

    def __len__(self):
        return len(self.texts)

    def scored_tokens(self, index):
        return self.texts[index]


def ngrams_of(text):
    return [
        tuple(text[place : place + order])
        for order in range(1, MAX_ORDER + 1)
        for place in range(len(text) - order + 1)
    ]


def slow_vector(vectors, text):
    """Counts in a loop, with the hash in Python's integers."""
    factors = [[int(word) for word in row] for row in vectors._factors]
    count = np.zeros(1 << LOG_BUCKETS)
    for ngram in ngrams_of(text):
        factor = factors[len(ngram)]
        word = factor[-1] + sum(f * token for f, token in zip(factor, ngram, strict=False))
        upper = (word % 2**64) >> (63 - LOG_BUCKETS)
        count[upper >> 1] += -1.0 if upper & 1 else 1.0
    vector = np.sign(count) * np.sqrt(np.abs(count))
    return vector / max(np.linalg.norm(vector), 1e-30)


texts = st.lists(st.lists(st.integers(0, 70_000), max_size=9), min_size=1, max_size=6)


@given(texts, st.integers(0, 3))
def test_vectors_equal_a_loop_over_ngrams(some, seed):
    vectors = NgramVectors(Texts(some), seed)
    wanted = np.arange(len(some))[::-1]
    made = vectors[wanted]
    for row, sample in enumerate(wanted):
        np.testing.assert_allclose(made[row], slow_vector(vectors, some[sample]), atol=1e-6)


@given(texts)
def test_a_sample_does_not_depend_on_those_asked_for_with_it(some):
    vectors = NgramVectors(Texts(some))
    together = vectors[np.arange(len(some))]
    for sample in range(len(some)):
        np.testing.assert_array_equal(together[sample], vectors[np.array([sample])][0])


def test_a_sample_with_nothing_scored_is_zero_and_the_others_have_length_one():
    vectors = NgramVectors(Texts([[], [5], [5, 6, 5]]))
    assert isinstance(vectors, FeatureSource)
    length = np.linalg.norm(vectors[np.arange(3)], axis=1)
    np.testing.assert_allclose(length, [0, 1, 1], atol=1e-6)


def test_texts_without_a_common_ngram_are_nearly_orthogonal_and_like_ones_are_not():
    generator = np.random.default_rng(0)
    base = generator.integers(0, 1000, 60)
    texts = [base, np.r_[base[:50], generator.integers(0, 1000, 10)]]
    texts += [generator.integers(1000 * n, 1000 * (n + 1), 60) for n in range(1, 40)]
    cosine = NgramVectors(Texts(texts))[np.arange(len(texts))]
    cosine = cosine @ cosine[0]
    assert 0.7 < cosine[1] < 0.95  # 50 of 60 tokens
    # Buckets shared by chance: a standard deviation of 1 / sqrt(2048).
    assert abs(cosine[2:].mean()) < 3 / np.sqrt(2048 * 39)
    assert cosine[2:].std() < 2 / np.sqrt(2048)
