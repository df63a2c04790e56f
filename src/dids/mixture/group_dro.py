"""Group DRO over domains: the rule under which DoReMi trains its proxy.

Axis letters: k domains.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.special import softmax

from dids.domains.regrouping import Regrouping
from dids.mixture.explanation import domain_explanation
from dids.mixture.last_seen import LastSeen
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision


class GroupDro:
    """More of the domains where the model is furthest above a reference model.

    After every step, ``a_k <- (1 - smoothing) a_k exp(step_size x_k) / sum_l a_l exp(step_size x_l)
    + smoothing / K``, from ``a_k = 1 / K``, where ``x_k`` is the mean over the domain's tokens of
    ``max(loss - reference loss, 0)``. (Xie et al. 2023, arXiv:2305.10429, algorithm 1, after Sagawa
    et al. 2020, arXiv:1911.08731.)

    Args:
        step_size: Of the weights' logarithms, for a nat of excess loss.
        smoothing: Share that is spread over all domains.

    Note:
        The paper draws uniformly and multiplies each domain's loss with its weight. Here the weight
        is the probability of drawing it, under the run's limits: the same gradient on average. A
        domain that a step did not draw keeps its excess of before, as in the released code; before
        it was ever drawn it has the others' mean. Where it is asked less often than after every
        step, it makes as many moves as there were steps.
    """

    needs_impact = False
    needs = Needs(every_steps=1, training_losses=True, reference=True)

    def __init__(self, *, step_size: float = 1.0, smoothing: float = 1e-3) -> None:
        if not step_size > 0.0:
            raise ValueError(f"step_size must be above 0, but it is {step_size}.")
        if not 0.0 <= smoothing <= 1.0:
            raise ValueError(f"smoothing must be from 0 to 1, but it is {smoothing}.")
        self.step_size = step_size
        self.smoothing = smoothing
        self._weight_k: np.ndarray | None = None
        self._excess = LastSeen()
        self._step = 0

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The weights after the steps that were trained on, moved into the limits."""
        num_domains = len(observation.sizes_k)
        if self._weight_k is None:
            self._weight_k = np.full(num_domains, 1.0 / num_domains)
        trained = observation.trained
        if trained is None or trained.excess_k is None or not np.isfinite(trained.excess_k).any():
            return PolicyDecision(observation.limits.project(self._weight_k))
        self._excess.see(trained.excess_k)
        excess_k = self._excess.filled()
        assert excess_k is not None
        for _ in range(observation.step - self._step):
            self._move(excess_k)
        self._step = observation.step
        columns = {"excess": excess_k, "best": self._weight_k}
        domains = domain_explanation(observation.domain_names, columns)
        return PolicyDecision(observation.limits.project(self._weight_k), {"domains": domains})

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains, which take weights and excess along."""
        self._excess.regroup(regrouping)
        if self._weight_k is not None:
            self._weight_k = np.asarray(regrouping.passed_kj @ self._weight_k)

    def state_dict(self) -> dict[str, Any]:
        """Weights and last excess losses."""
        weight = None if self._weight_k is None else self._weight_k.tolist()
        return {"weight": weight, "excess": self._excess.state_dict(), "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        weight = state["weight"]
        self._weight_k = None if weight is None else np.array(weight, dtype=np.float64)
        self._excess.load_state_dict(state["excess"])
        self._step = int(state["step"])

    def _move(self, excess_k: Float64[np.ndarray, " k"]) -> None:
        assert self._weight_k is not None
        # A weight may have underflowed where nothing is spread.
        log_weight_k = np.log(np.maximum(self._weight_k, np.finfo(np.float64).tiny))
        moved_k = softmax(log_weight_k + self.step_size * excess_k)
        self._weight_k = (1.0 - self.smoothing) * moved_k + self.smoothing / len(moved_k)
