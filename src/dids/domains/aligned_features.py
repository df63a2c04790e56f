"""Features as an alignment makes them, row by row as they are read.

Axes: n samples, m samples asked for, d feature dimensions.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from dids.alignment.composed import Composed
from dids.domains.feature_source import FeatureSource, directions


@dataclass(frozen=True, eq=False)
class AlignedFeatures:
    """Directions of features, transformed; those that are zero stay zero.

    Attributes:
        source: The features.
        alignment: Fitted on directions.
        source_of_sample_n: Source of each sample.
    """

    source: FeatureSource
    alignment: Composed
    source_of_sample_n: Integer[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, samples: Integer[np.ndarray, " m"]) -> Float[np.ndarray, "m d"]:
        """Features of these samples, in this order."""
        direction_md = directions(self.source, samples)
        return self.alignment.aligned(direction_md, self.source_of_sample_n[samples])
