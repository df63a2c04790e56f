"""Policies that do not look: ``uniform`` and ``proportional``, to compare with.

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


class Proportional(Forgetful):
    """Every sample alike."""

    searched: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """By the domains' numbers of samples, moved into the limits if it breaks them."""
        share_k = observation.sizes_k / observation.sizes_k.sum()
        return PolicyDecision(observation.limits.project(share_k))
