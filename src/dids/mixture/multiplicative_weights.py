"""Multiplicative weights: a mixture that goes by what its domains have gained so far.

Kept as logarithms, so that no number of rounds overflows; and relative to the prior, so that a
domain split in two is drawn as before.

Axis letters: k domains.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64

from dids.domains.regrouping import Regrouping


def tilted(
    prior_k: Float64[np.ndarray, " k"], exponent_k: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """``prior_k exp(exponent_k)``, scaled to sum to 1.

    Args:
        prior_k: Zero or more, somewhere more.
        exponent_k: Of any size.

    Example:
        >>> tilted(np.ones(3) / 3, np.array([1e6, 1e6, 0.0])).tolist()
        [0.5, 0.5, 0.0]
    """
    greatest = exponent_k[prior_k > 0].max()
    share_k = prior_k * np.exp(np.minimum(exponent_k - greatest, 0.0))
    return np.asarray(share_k / share_k.sum())


class MultiplicativeWeights:
    """What domains have gained, added up; domains begin with nothing gained."""

    def __init__(self) -> None:
        self._gain_k: np.ndarray | None = None

    def add(self, gain_k: Float64[np.ndarray, " k"]) -> None:
        """Gain more: of the logarithms of the shares, up to a constant."""
        total_k = gain_k if self._gain_k is None else self._gain_k + gain_k
        self._gain_k = total_k - total_k.max()

    def mixture(self, prior_k: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        """The prior, tilted by what was gained."""
        return prior_k if self._gain_k is None else tilted(prior_k, self._gain_k)

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains; one of new samples begins with the mean of all."""
        if self._gain_k is not None:
            mean = self._gain_k.mean()
            self._gain_k = np.nan_to_num(regrouping.averaged(self._gain_k), nan=mean)

    def state_dict(self) -> dict[str, Any]:
        """What was gained."""
        return {"gain": None if self._gain_k is None else self._gain_k.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        gain = state["gain"]
        self._gain_k = None if gain is None else np.array(gain, dtype=np.float64)
