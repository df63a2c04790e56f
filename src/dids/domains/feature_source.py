"""Where clustering reads features from: anything with rows, on disk or in memory.

Axes: m samples asked for, d feature dimensions.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Integer


@runtime_checkable
class FeatureSource(Protocol):
    """Features by sample number: a feature store, or a plain array."""

    def __len__(self) -> int:
        """Samples in all."""
        ...

    def __getitem__(self, samples: Integer[np.ndarray, " m"], /) -> Float[np.ndarray, "m d"]:
        """Features of these samples, in this order."""
        ...


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
