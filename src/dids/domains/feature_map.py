"""A map of the domains: gradient features of some samples, seen from the side that shows the most.

The first two principal components of the features' directions, since only directions make domains.

Axes: n samples, m samples on the map, d feature dimensions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg
from jaxtyping import Float, Integer

from dids.atomic import read_json, write_json
from dids.domains.feature_source import FeatureSource, SparseFeatures, directions

MAX_SAMPLES = 1500
"""On the map, whatever the size of the corpus: more dots hide each other, and memory stays flat."""
_LEAST_SAMPLES = 3
_DECIMALS = 4


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Samples and where they lie."""

    samples_m: Integer[np.ndarray, " m"]
    place_m2: Float[np.ndarray, "m 2"]
    explained: tuple[float, float]
    """Fraction of the directions' variance along either axis."""

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        places = np.round(self.place_m2.astype(np.float64), _DECIMALS).tolist()
        write_json(
            path,
            {
                "samples": self.samples_m.tolist(),
                "places": places,
                "explained": list(self.explained),
            },
        )

    @classmethod
    def load(cls, path: Path) -> "FeatureMap":
        """Read what ``save`` wrote."""
        saved = read_json(path)
        first, second = saved["explained"]
        places = np.array(saved["places"], dtype=np.float64).reshape(-1, 2)
        return cls(np.array(saved["samples"], dtype=np.int64), places, (first, second))


def feature_map(
    features: FeatureSource,
    domain_of_sample: Integer[np.ndarray, " n"],
    seed: int,
    max_samples: int = MAX_SAMPLES,
) -> FeatureMap | None:
    """Lay samples out by their features, equally many of every domain as far as it has them.

    Args:
        features: By sample; samples without one are left out.
        domain_of_sample: Domain of each sample, counted from 0.
        seed: Of the draw.
        max_samples: How many at most. Memory is this times the features' dimensions.

    Returns:
        The map; None where fewer than three samples have a feature.

    Example:
        >>> features = np.array([[1.0, 0.1, 0], [1, -0.1, 0], [-1, 0, 0.1], [-1, 0, -0.1]])
        >>> found = feature_map(features, np.array([0, 0, 1, 1]), seed=0)
        >>> (found.place_m2[:, 0] > 0).tolist()
        [True, True, False, False]
    """
    known_n = features.samples_m if isinstance(features, SparseFeatures) else None
    candidate_n = np.arange(len(domain_of_sample)) if known_n is None else known_n
    samples_m = _equally_many(candidate_n, domain_of_sample[candidate_n], seed, max_samples)
    direction_md = directions(features, samples_m)
    has_direction_m = direction_md.any(axis=1)
    samples_m, direction_md = samples_m[has_direction_m], direction_md[has_direction_m]
    if len(samples_m) < _LEAST_SAMPLES:
        return None
    return FeatureMap(samples_m, *_principal_places(direction_md))


def _equally_many(
    samples_n: Integer[np.ndarray, " n"],
    domain_n: Integer[np.ndarray, " n"],
    seed: int,
    max_samples: int,
) -> Integer[np.ndarray, " m"]:
    """Samples of a random order, round by round one of every domain, until there are enough."""
    shuffled_n = np.random.default_rng([seed, len(samples_n)]).permutation(len(samples_n))
    by_domain_n = shuffled_n[np.argsort(domain_n[shuffled_n], kind="stable")]
    size_k = np.bincount(domain_n)
    rank_n = np.arange(len(samples_n)) - np.repeat(np.cumsum(size_k) - size_k, size_k)
    first_m = by_domain_n[np.argsort(rank_n, kind="stable")[:max_samples]]
    return np.sort(samples_n[first_m])


def _principal_places(
    direction_md: Float[np.ndarray, "m d"],
) -> tuple[Float[np.ndarray, "m 2"], tuple[float, float]]:
    """Coordinates along the two directions of most variance, and the variance's fraction of each.

    From the samples' inner products, which are fewer than the dimensions' where features are long.
    """
    centred_md = direction_md - direction_md.mean(axis=0)
    gram_mm = (centred_md @ centred_md.T).astype(np.float64)
    num = len(gram_mm)
    value_2, vector_m2 = scipy.linalg.eigh(gram_mm, subset_by_index=[num - 2, num - 1])
    value_2, vector_m2 = np.maximum(value_2[::-1], 0.0), vector_m2[:, ::-1]
    # The sign of an eigenvector is free; a fixed rule keeps two runs' maps alike.
    largest_2 = np.abs(vector_m2).argmax(axis=0)
    vector_m2 = vector_m2 * np.where(vector_m2[largest_2, [0, 1]] < 0, -1.0, 1.0)
    share_2 = value_2 / max(float(np.trace(gram_mm)), np.finfo(np.float64).tiny)
    return vector_m2 * np.sqrt(value_2), (float(share_2[0]), float(share_2[1]))
