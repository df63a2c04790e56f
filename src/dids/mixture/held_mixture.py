"""A mixture that is held throughout a run: one that a search has found, or one to try.

Axis letters: k domains.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64

from dids.domains.regrouping import Regrouping
from dids.mixture.observation import Observation, PolicyDecision


class HeldMixture:
    """The same mixture in every round; the prior while there is none.

    Args:
        held_k: The mixture, moved into the limits if it breaks them. None: found later.
    """

    needs_impact = False

    def __init__(self, held_k: Float64[np.ndarray, " k"] | None = None) -> None:
        self._held_k = held_k

    def hold(self, mixture_k: Float64[np.ndarray, " k"]) -> None:
        """From now on this one."""
        self._held_k = np.asarray(mixture_k, dtype=np.float64)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture that is held."""
        if self._held_k is None:
            note = {"note": "no search has found a mixture: the prior holds"}
            return PolicyDecision(observation.limits.project(observation.prior), note)
        return PolicyDecision(observation.limits.project(self._held_k))

    def regroup(self, regrouping: Regrouping) -> None:
        """The weights go where their samples went; a domain of new samples has none."""
        if self._held_k is not None:
            self._held_k = np.asarray(regrouping.passed_kj @ self._held_k)

    def state_dict(self) -> dict[str, Any]:
        """The mixture."""
        return {"mixture": None if self._held_k is None else self._held_k.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        held = state["mixture"]
        self._held_k = None if held is None else np.array(held, dtype=np.float64)
