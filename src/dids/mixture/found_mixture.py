"""A mixture that was found before the run and holds through it; also what trials train on.

Axis letters: k domains.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64

from dids.domains.regrouping import Regrouping
from dids.mixture.observation import Observation, PolicyDecision


class FoundMixture:
    """Always the same mixture, moved into the limits; the prior as long as none is found.

    Args:
        found_k: The mixture. None: a search has yet to find it.
    """

    needs_impact = False

    def __init__(self, found_k: Float64[np.ndarray, " k"] | None = None) -> None:
        self.found_k = found_k

    def mixture(self, observation: Observation) -> PolicyDecision:
        """What was found."""
        if self.found_k is None:
            return PolicyDecision(
                observation.limits.project(observation.prior),
                {"note": "nothing was searched for yet: the prior holds"},
            )
        return PolicyDecision(observation.limits.project(self.found_k))

    def regroup(self, regrouping: Regrouping) -> None:
        """Parts of a domain take their part of its share along; new samples have none."""
        if self.found_k is not None:
            self.found_k = np.asarray(regrouping.passed_kj @ self.found_k)

    def state_dict(self) -> dict[str, Any]:
        """What was found."""
        return {"mixture": None if self.found_k is None else self.found_k.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        mixture = state["mixture"]
        self.found_k = None if mixture is None else np.array(mixture, dtype=np.float64)
