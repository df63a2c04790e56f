"""A run's names in these tests: two sources of three domains together, and one that mixes both."""

import numpy as np

from dids.steering.names import KnownNames

NAMES = KnownNames.of(
    ["web/0", "web/1", "code", "code+web"],
    ["web", "code"],
    ["sums", "colours", "silent"],
    ["sums", "colours"],
    np.array([[10, 0], [30, 0], [0, 20], [5, 15]]),
)
