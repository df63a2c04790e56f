"""What placing samples by their text costs, where only a share of them gets a feature."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dids.domains.ngram_vectors import NgramVectors, ScoredTokens
from dids.domains.placing import placed_clusters
from dids.domains.spherical_kmeans import CHUNK

_FEW, _MANY = 128, 512
_CENTRES = 4


@dataclass(frozen=True)
class TextPrice:
    """Seconds of a vector, of a sample that places are learned from, and of learning at all.

    Attributes:
        memory_s: Of the memory for as many vectors as a run has at once; it is used again.
        vector_s: Of one sample's vector.
        known_s: Of one sample with a feature, in the regression.
        solve_s: Of solving it, for each group that is divided.
    """

    memory_s: float
    vector_s: float
    known_s: float
    solve_s: float

    def placing_s(self, num_groups: int, num_known: float, num_others: float) -> float:
        """Seconds of placing samples, their vectors included, in memory that is there.

        Args:
            num_groups: That are divided.
            num_known: Samples with a feature in these groups.
            num_others: Samples without one in them.

        Example:
            >>> TextPrice(0.5, 0.001, 0.002, 1.0).placing_s(3, 1000, 5000)
            10.0
        """
        return num_groups * self.solve_s + num_known * self.known_s + num_others * self.vector_s


def text_price(
    samples: ScoredTokens, num_samples: int, dim: int, now: Callable[[], float]
) -> TextPrice:
    """Take the vectors of as many samples as a run takes at once, and place a few.

    Args:
        samples: Of the small run; taken again and again where they are fewer.
        num_samples: Of the whole run.
        dim: Of a feature.
        now: The clock, in seconds.
    """
    vectors = NgramVectors(samples)
    at_once = np.arange(min(CHUNK, num_samples)) % len(samples)
    first_s, again_s = (_took_s(lambda: vectors[at_once], now) for _ in range(2))
    generator = np.random.default_rng(0)
    feature_md = generator.standard_normal((_MANY, dim), dtype=np.float32)
    # The first one touches new memory and is not counted.
    _, few_s, many_s = (
        _learning_s(_Repeated(vectors, len(samples)), feature_md[:count], now)
        for count in (_FEW, _FEW, _MANY)
    )
    known_s = max(0.0, many_s - few_s) / (_MANY - _FEW)
    return TextPrice(
        memory_s=max(0.0, first_s - again_s),
        vector_s=again_s / len(at_once),
        known_s=known_s,
        solve_s=max(0.0, few_s - _FEW * known_s),
    )


@dataclass(frozen=True)
class _Repeated:
    """Vectors of some samples, again and again."""

    vectors: NgramVectors
    num_samples: int

    def __len__(self) -> int:
        return _MANY

    def __getitem__(self, samples: np.ndarray) -> np.ndarray:
        """Vectors of these, counted round and round."""
        return self.vectors[samples % self.num_samples]


def _took_s(do: Callable[[], object], now: Callable[[], float]) -> float:
    began_s = now()
    do()
    return now() - began_s


def _learning_s(vectors: _Repeated, feature_md: np.ndarray, now: Callable[[], float]) -> float:
    """Of placing one sample by so many."""
    centroid_kd = feature_md[:_CENTRES] / np.linalg.norm(
        feature_md[:_CENTRES], axis=1, keepdims=True
    )
    known = np.arange(len(feature_md))
    return _took_s(lambda: placed_clusters(vectors, feature_md, known, centroid_kd, known[:1]), now)
