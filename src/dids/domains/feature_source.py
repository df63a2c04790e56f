"""Where clustering reads features from: anything with rows, on disk or in memory.

Axes: m samples asked for, p places asked for, d feature dimensions.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Integer


@runtime_checkable
class FeatureSource(Protocol):
    """Features by sample number: a feature store, or a plain array."""

    def __len__(self) -> int:
        """Samples in all."""
        ...

    def __getitem__(self, samples: Integer[np.ndarray, " m"], /) -> Float[np.ndarray, "m d"]:
        """Features of these samples, in this order."""
        ...


@dataclass(frozen=True, eq=False)
class SomeSamples:
    """The features of some samples, which are numbered from 0 here."""

    source: FeatureSource
    samples_m: Integer[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.samples_m)

    def __getitem__(self, places: Integer[np.ndarray, " p"]) -> Float[np.ndarray, "p d"]:
        """Features of the samples at these places."""
        return self.source[self.samples_m[places]]


@dataclass(frozen=True, eq=False)
class SparseFeatures:
    """Features of all samples where only some have one; the others are zero.

    Attributes:
        source: Row i belongs to sample ``samples_m[i]``.
        samples_m: Ascending.
        num_samples: Samples in all.
    """

    source: FeatureSource
    samples_m: Integer[np.ndarray, " m"]
    num_samples: int

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, samples: Integer[np.ndarray, " p"]) -> Float[np.ndarray, "p d"]:
        """Features of these samples, in this order."""
        place_p = np.searchsorted(self.samples_m, samples)
        place_p = np.minimum(place_p, len(self.samples_m) - 1)
        is_known_p = self.samples_m[place_p] == samples
        feature_pd = np.zeros((len(samples), self.source[place_p[:1]].shape[1]), dtype=np.float32)
        feature_pd[is_known_p] = self.source[place_p[is_known_p]]
        return feature_pd


def directions(
    source: FeatureSource, samples_m: Integer[np.ndarray, " m"]
) -> Float[np.ndarray, "m d"]:
    """Features scaled to length one; only their direction says what a sample teaches.

    Args:
        source: Where they are.
        samples_m: Which.

    Returns:
        Float32 rows of length one, or zero where nothing of a sample is scored.
    """
    feature_md = np.array(source[samples_m], dtype=np.float32)
    norm_m1 = np.linalg.norm(feature_md, axis=1, keepdims=True)
    # Subnormal lengths would divide to infinity.
    is_zero_m1 = norm_m1 < np.finfo(np.float32).tiny
    direction_md: np.ndarray = np.where(
        is_zero_m1, 0.0, feature_md / np.where(is_zero_m1, 1.0, norm_m1)
    )
    return direction_md.astype(np.float32)


def have_direction(
    source: FeatureSource, samples_n: Integer[np.ndarray, " n"], chunk: int = 8192
) -> Bool[np.ndarray, " n"]:
    """Which samples have a feature that says anything.

    Args:
        source: Where features are.
        samples_n: Which samples.
        chunk: Samples read at once.

    Returns:
        False where a feature is zero: not computed, or nothing scored.
    """
    return np.concatenate(
        [
            directions(source, samples_n[start : start + chunk]).any(1)
            for start in range(0, len(samples_n), chunk)
        ]
        or [np.zeros(0, dtype=bool)]
    )
