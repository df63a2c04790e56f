"""The policy ``dids-descent``: the mixture goes downhill on the tasks' mean loss.

Axis letters: k domains, t tasks.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64

from dids.domains.regrouping import Regrouping
from dids.mixture.explanation import impact_explanation
from dids.mixture.multiplicative_weights import tilted
from dids.mixture.observation import Observation, PolicyDecision, unmeasured
from dids.mixture.saturation import marginal_value, repeats
from dids.mixture.setting_ranges import check_below_one, check_positive


class DidsDescent:
    """Exponentiated gradient on what one more sample of each domain does for all tasks together.

    ``p`` is proportional to ``prior * exp(speed * G / sqrt(S))``, where ``G`` adds up, round by
    round, what a domain's step gains beyond the mixture's own and ``S`` the squares of the largest
    such gain, both forgetting slowly. It comes to rest where every domain that is drawn gains as
    much as any other: there no other fixed mixture is better, to first order. (Kivinen & Warmuth
    1997, Information and Computation 132; the step size is that of Duchi, Hazan & Singer 2011,
    JMLR 12.)

    Args:
        speed: How far the first round's gains may move the logarithm of a share.
        decay: How slowly earlier rounds are forgotten, from 0 to below 1.

    Note:
        The kernel is taken for a gain in nats, tasks added up as they are. It is one where the
        metric is plain: the optimizer's step times the task's gradient. In the Fisher metric the
        kernel is not, and a task whose samples have long gradients counts for more than it should;
        `Dids` brings all tasks to one size instead.
    """

    needs_impact = True

    def __init__(self, *, speed: float = 1.5, decay: float = 0.95) -> None:
        check_positive(speed=speed)
        check_below_one(decay=decay)
        self.speed = speed
        self.decay = decay
        self._gain_k: np.ndarray | None = None
        self._square = 0.0

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins; the one before where nothing was measured."""
        impact = observation.impact
        if impact is None:
            return unmeasured(observation)
        weight_t = observation.task_weights / observation.task_weights.sum()
        value_k = marginal_value(repeats(observation.draws_k, observation.sizes_k))
        pull_kt = impact.kernel_kt * value_k[:, None]
        gain_k = pull_kt @ weight_t
        self._remember(gain_k - observation.previous @ gain_k)
        best_k = self._tilted(observation.prior)
        columns = {"utility": gain_k, "best": best_k, "marginal_value": value_k}
        return PolicyDecision(
            observation.limits.project(best_k),
            impact_explanation(observation, weight_t, pull_kt, columns),
        )

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains; one of new samples begins with no gain."""
        if self._gain_k is not None:
            self._gain_k = np.asarray(regrouping.origin_kj @ self._gain_k)

    def state_dict(self) -> dict[str, Any]:
        """The gains so far."""
        gain = None if self._gain_k is None else self._gain_k.tolist()
        return {"gain": gain, "square": self._square}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        gain = state["gain"]
        self._gain_k = None if gain is None else np.array(gain, dtype=np.float64)
        self._square = float(state["square"])

    def _remember(self, advantage_k: Float64[np.ndarray, " k"]) -> None:
        before_k = np.zeros_like(advantage_k) if self._gain_k is None else self._gain_k
        self._gain_k = self.decay * before_k + advantage_k
        self._square = self.decay**2 * self._square + float(np.abs(advantage_k).max()) ** 2

    def _tilted(self, prior_k: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        assert self._gain_k is not None
        if self._square == 0.0:
            return prior_k
        return tilted(prior_k, self.speed * self._gain_k / math.sqrt(self._square))
