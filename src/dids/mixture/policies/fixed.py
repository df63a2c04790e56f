"""Policies that do not look: ``uniform`` and ``proportional``, to compare with.

Axis letters: k domains.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dids.domains.regrouping import Regrouping
from dids.mixture.observation import Observation, PolicyDecision


class Uniform:
    """Every domain alike."""

    needs_impact = False

    def mixture(self, observation: Observation) -> PolicyDecision:
        """``1 / k`` for every domain, moved into the limits if it breaks them."""
        num_domains = len(observation.sizes_k)
        return PolicyDecision(observation.limits.project(np.full(num_domains, 1.0 / num_domains)))

    def regroup(self, regrouping: Regrouping) -> None:
        """Nothing is remembered."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is remembered."""


class Proportional:
    """Every sample alike."""

    needs_impact = False

    def mixture(self, observation: Observation) -> PolicyDecision:
        """By the domains' numbers of samples, moved into the limits if it breaks them."""
        share_k = observation.sizes_k / observation.sizes_k.sum()
        return PolicyDecision(observation.limits.project(share_k))

    def regroup(self, regrouping: Regrouping) -> None:
        """Nothing is remembered."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is remembered."""
