"""What text costs where only a share of the samples gets a feature: to draw it, to place the rest.

Axes: m samples, d feature dimensions, k centres.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dids.domains.ngram_vectors import NgramVectors, ScoredTokens
from dids.domains.placing import placed_clusters
from dids.domains.spherical_kmeans import CHUNK
from dids.domains.stratified_draw import (
    MAX_CLUSTERS,
    SAMPLES_PER_CLUSTER,
    TRAINING_SAMPLES,
    stratified_draw,
)
from dids.run.plan.made_up_domains import Clustering

_FEW, _MANY = 128, 512
_CENTRES = 4
_DRAWN_FROM = _OTHERS = 4096
"""Samples: a second of drawing, some tenths of placing."""


@dataclass(frozen=True)
class TextPrice:
    """Seconds of a vector, of drawing by vectors, and of learning places from some samples.

    Attributes:
        memory_s: Of the memory for as many vectors as a run has at once; it is used again.
        vector_s: Of one sample's vector.
        product_s: Of a product of a vector and a centre, to draw.
        known_s: Of one sample with a feature, in the regression.
        other_s: Of one that is placed by it, its vector included.
        solve_s: Of solving it, for each group that is divided.
    """

    memory_s: float
    vector_s: float
    product_s: float
    known_s: float
    other_s: float
    solve_s: float

    def drawing_s(self, group_sizes: Sequence[int]) -> float:
        """Seconds of drawing a share of every group, vectors and their memory included.

        Args:
            group_sizes: Samples of every group that is drawn from on its own.
        """
        clustering = _drawing(group_sizes)
        vectors_s = self.vector_s * _vectors_of(clustering)
        products_s = self.product_s * clustering.products_of(TRAINING_SAMPLES)
        return self.memory_s + vectors_s + products_s

    def placing_s(self, num_groups: int, num_known: float, num_others: float) -> float:
        """Seconds of placing samples, in memory that is there.

        Args:
            num_groups: That are divided.
            num_known: Samples with a feature in these groups.
            num_others: Samples without one in them.

        Example:
            >>> TextPrice(0.5, 0.0, 0.0, 0.002, 0.001, 1.0).placing_s(3, 1000, 5000)
            10.0
        """
        return num_groups * self.solve_s + num_known * self.known_s + num_others * self.other_s


def text_price(
    samples: ScoredTokens, num_samples: int, dim: int, now: Callable[[], float]
) -> TextPrice:
    """Take the vectors of as many samples as a run takes at once, draw from some, place a few.

    Args:
        samples: Of the small run; taken again and again where they are fewer.
        num_samples: Of the whole run.
        dim: Of a feature.
        now: The clock, in seconds.
    """
    vectors = NgramVectors(samples)
    at_once = np.arange(min(CHUNK, num_samples)) % len(samples)
    first_s, again_s = (_took_s(lambda: vectors[at_once], now) for _ in range(2))
    vector_s = again_s / len(at_once)
    drawn_from = at_once[:_DRAWN_FROM]
    draw_s = _took_s(lambda: stratified_draw(vectors, drawn_from, 0.1, 0), now)
    drawing = _drawing([len(drawn_from)])
    generator = np.random.default_rng(0)
    feature_md = generator.standard_normal((_MANY, dim), dtype=np.float32)
    repeated = _Repeated(vectors, len(samples))
    # The first one touches new memory and is not counted.
    _, few_s, many_s, others_s = (
        _placing_s(repeated, feature_md[:num_known], num_others, now)
        for num_known, num_others in ((_FEW, _OTHERS), (_FEW, 1), (_MANY, 1), (_FEW, _OTHERS))
    )
    known_s = max(0.0, many_s - few_s) / (_MANY - _FEW)
    return TextPrice(
        memory_s=max(0.0, first_s - again_s),
        vector_s=vector_s,
        product_s=max(0.0, draw_s - vector_s * _vectors_of(drawing))
        / drawing.products_of(TRAINING_SAMPLES),
        known_s=known_s,
        other_s=max(0.0, others_s - few_s) / (_OTHERS - 1),
        solve_s=max(0.0, few_s - _FEW * known_s),
    )


def _drawing(group_sizes: Sequence[int]) -> Clustering:
    """The clustering by text that a share of every group is drawn from."""
    counts = [max(1, min(MAX_CLUSTERS, size // SAMPLES_PER_CLUSTER)) for size in group_sizes]
    return Clustering(tuple(group_sizes), tuple(counts))


def _vectors_of(drawing: Clustering) -> int:
    """Vectors that it takes: to train the centres, then of all samples."""
    return sum(
        size + min(size, TRAINING_SAMPLES * count)
        for size, count in zip(drawing.group_sizes, drawing.counts, strict=True)
    )


@dataclass(frozen=True)
class _Repeated:
    """Vectors of some samples, again and again."""

    vectors: NgramVectors
    num_samples: int

    def __len__(self) -> int:
        return max(_MANY, _OTHERS)

    def __getitem__(self, samples: np.ndarray) -> np.ndarray:
        """Vectors of these, counted round and round."""
        return self.vectors[samples % self.num_samples]


def _took_s(do: Callable[[], object], now: Callable[[], float]) -> float:
    began_s = now()
    do()
    return now() - began_s


def _placing_s(
    vectors: _Repeated, feature_md: np.ndarray, num_others: int, now: Callable[[], float]
) -> float:
    """Of placing so many samples by those with a feature."""
    centroid_kd = feature_md[:_CENTRES] / np.linalg.norm(
        feature_md[:_CENTRES], axis=1, keepdims=True
    )
    known, others = np.arange(len(feature_md)), np.arange(num_others)
    return _took_s(lambda: placed_clusters(vectors, feature_md, known, centroid_kd, others), now)
