"""The policy of a mixture that was found elsewhere: what the best fixed mixture is run with.

Axis letters: k domains.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dids.atomic import read_json
from dids.domains.regrouping import Regrouping
from dids.errors import InputError
from dids.mixture.observation import Observation, PolicyDecision


class GivenMixture:
    """The mixture in a file, all the time.

    Args:
        path: A JSON object with the probability of every domain by name, in the domains' order.

    Raises:
        InputError: If there is no such file.
    """

    needs_impact = False

    def __init__(self, path: str) -> None:
        if not Path(path).is_file():
            raise InputError(f"{path}: there is no such file of a mixture.")
        self.mixture_k = np.array(list(read_json(Path(path)).values()), dtype=np.float64)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The same as ever, moved into the limits if it breaks them."""
        return PolicyDecision(observation.limits.project(self.mixture_k))

    def regroup(self, regrouping: Regrouping) -> None:
        """Divide every domain's probability over what became of it."""
        self.mixture_k = regrouping.passed_kj @ self.mixture_k

    def state_dict(self) -> dict[str, Any]:
        """The mixture, which regrouping may have changed."""
        return {"mixture": self.mixture_k.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self.mixture_k = np.array(state["mixture"], dtype=np.float64)
