"""The last number seen of every domain, where each look sees only some of them.

Axis letters: k domains.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from dids.domains.regrouping import Regrouping


class LastSeen:
    """Numbers of domains that stand until newer ones are seen.

    Example:
        >>> losses = LastSeen()
        >>> losses.see(np.array([2.0, np.nan, 4.0]))
        >>> losses.see(np.array([np.nan, np.nan, 5.0]))
        >>> losses.filled()
        array([2. , 3.5, 5. ])
    """

    def __init__(self) -> None:
        self.value_k: np.ndarray | None = None

    def see(self, value_k: Float[np.ndarray, " k"]) -> None:
        """Take over what is a number; the rest stands."""
        before_k = np.full(len(value_k), np.nan) if self.value_k is None else self.value_k
        self.value_k = np.where(np.isfinite(value_k), value_k, before_k).astype(np.float64)

    def filled(self) -> np.ndarray | None:
        """Of every domain; the mean of the others where none was seen. None before any was."""
        if self.value_k is None or not np.isfinite(self.value_k).any():
            return None
        return np.where(np.isfinite(self.value_k), self.value_k, np.nanmean(self.value_k))

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains, each with the mean of those it comes from."""
        if self.value_k is not None:
            self.value_k = regrouping.averaged(self.value_k)

    def state_dict(self) -> dict[str, Any]:
        """The numbers; None where none was seen."""
        if self.value_k is None:
            return {"values": None}
        return {"values": [v if np.isfinite(v) else None for v in self.value_k.tolist()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        values = state["values"]
        self.value_k = None if values is None else np.array(values, dtype=np.float64)
