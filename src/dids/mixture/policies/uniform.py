"""The policy ``uniform``: what all are compared with.

Axis letters: k domains.
"""

from typing import Any, ClassVar

import numpy as np

from dids.mixture.forgetful import Forgetful
from dids.mixture.observation import Observation, PolicyDecision


class Uniform(Forgetful):
    """Every domain alike."""

    searched: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """``1 / k`` for every domain, moved into the limits if it breaks them."""
        num_domains = len(observation.sizes_k)
        return PolicyDecision(observation.limits.project(np.full(num_domains, 1.0 / num_domains)))
