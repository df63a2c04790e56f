"""The policy ``proportional``: the data as it lies.

Axis letters: k domains.
"""

from typing import Any, ClassVar

from dids.mixture.forgetful import Forgetful
from dids.mixture.observation import Observation, PolicyDecision


class Proportional(Forgetful):
    """Every sample alike."""

    searched: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """By the domains' numbers of samples, moved into the limits if it breaks them."""
        share_k = observation.sizes_k / observation.sizes_k.sum()
        return PolicyDecision(observation.limits.project(share_k))
