"""The policy ``temperature``: by size, flattened.

Axis letters: k domains.
"""

import math
from typing import ClassVar

import numpy as np
from scipy.special import softmax

from dids.mixture.forgetful import Forgetful
from dids.mixture.observation import Observation, PolicyDecision


class Temperature(Forgetful):
    """By the domains' numbers of samples to the power ``1 / temperature``.

    ``p_k`` is proportional to ``min(n_k, cap) ** (1 / temperature)``: 1 is proportional, infinity
    uniform. (Conneau et al. 2020, arXiv:1911.02116, where the exponent is 0.3 over languages;
    Raffel et al. 2020, arXiv:1910.10683, section 3.5.2, with the cap, where 2 was best over tasks.)

    Args:
        temperature: Above zero.
        cap: Samples of a domain that count at most. None: all.
    """

    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"temperature": 2.0},
        {"temperature": 10.0},
    )

    def __init__(self, *, temperature: float = 1.0 / 0.3, cap: float | None = None) -> None:
        if not temperature > 0.0:
            raise ValueError(f"temperature must be above 0, but it is {temperature}.")
        if cap is not None and not cap > 0.0:
            raise ValueError(f"cap must be above 0, but it is {cap}.")
        self.temperature = temperature
        self.cap = math.inf if cap is None else cap

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The same in every round, moved into the limits if it breaks them."""
        counted_k = np.minimum(observation.sizes_k, self.cap)
        share_k = softmax(np.log(np.maximum(counted_k, 1.0)) / self.temperature)
        return PolicyDecision(observation.limits.project(share_k))
