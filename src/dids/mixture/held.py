"""A mixture in numbers, for trials.

Axis letters: k domains.
"""

import numpy as np
from jaxtyping import Float64

from dids.mixture.forgetful import Forgetful
from dids.mixture.observation import Observation, PolicyDecision


class Held(Forgetful):
    """The same mixture from beginning to end.

    Args:
        mixture_k: One probability a domain, in the domains' order.
    """

    def __init__(self, mixture_k: Float64[np.ndarray, " k"]) -> None:
        self.mixture_k = mixture_k

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture, moved into the limits if it breaks them."""
        return PolicyDecision(observation.limits.project(self.mixture_k))
