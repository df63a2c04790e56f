"""What rounds of measuring say together: impact averaged over them, and what tasks prefer in it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dids.domains.regrouping import Regrouping
from dids.impact.matrices import ImpactMatrices
from dids.mixture.votes import Votes


class AveragedImpact:
    """The exponential average of the measurements so far.

    Args:
        decay: How slowly earlier rounds are forgotten, from 0 to below 1.

    Attributes:
        matrices: The average, every task's in units of a typical step. None: nothing measured.
        votes: What the tasks prefer.
        variance: Variance of the average, in units of one measurement's.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.matrices: ImpactMatrices | None = None
        self.votes = Votes.none(0, 0)
        self.variance = 1.0
        self._num_measurements = 0

    def with_measurement(self, measured: ImpactMatrices) -> ImpactMatrices:
        """The average with one more measurement, all rounds counted as if weighted alike.

        Without the correction for its start (Kingma & Ba 2015, arXiv:1412.6980, section 3) the
        first measurement, the stalest, would weigh most for several rounds.
        """
        seen = self._num_measurements
        before = self.decay * (1.0 - self.decay**seen) / (1.0 - self.decay ** (seen + 1))
        comparable = measured.in_typical_steps()
        if seen == 0:
            self.votes = Votes.none(*comparable.kernel_kt.shape)
        self.votes = self.votes.after(
            comparable.kernel_kt, self.decay, comparable.error_kt, comparable.num_samples_t
        )
        self.matrices = comparable.smoothed(self.matrices, before)
        self.variance = before**2 * self.variance + (1.0 - before) ** 2
        self._num_measurements = seen + 1
        return self.matrices

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains, with what was measured of those of before."""
        origin_kj = regrouping.origin_kj
        if self.matrices is not None:
            self.matrices = self.matrices.regrouped(origin_kj, regrouping.names)
        self.votes = self.votes.regrouped(origin_kj)

    def state_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "impact": None if self.matrices is None else self.matrices.to_json(),
            "num_measurements": self._num_measurements,
            "variance": self.variance,
            "votes": self.votes.to_json(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        saved = state["impact"]
        self.matrices = None if saved is None else ImpactMatrices.from_json(saved)
        self._num_measurements = int(state["num_measurements"])
        self.variance = float(state["variance"])
        self.votes = Votes.from_json(state["votes"])


def noise_share(impact: ImpactMatrices) -> np.ndarray:
    """How much of each domain's squared step is noise of one measurement, from 0 to 1."""
    length_k = np.diagonal(impact.gram_tkk, axis1=1, axis2=2).sum(axis=0)
    noise_k = impact.noise().sum(axis=0)
    share_k: np.ndarray = np.zeros_like(length_k)
    np.divide(noise_k, length_k, out=share_k, where=length_k > 0)
    return np.asarray(np.clip(share_k, 0.0, 1.0))
