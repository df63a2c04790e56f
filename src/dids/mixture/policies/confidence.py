"""The policy ``confidence``: domains of which the model is not sure yet are drawn more.

Axis letters: k domains.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from dids.domains.regrouping import Regrouping
from dids.mixture.last_seen import LastSeen
from dids.mixture.multiplicative_weights import tilted
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision


class Confidence:
    """The lower a domain's expected confidence score, the more of it; more so as the run goes on.

    ``ECS ← momentum * ECS + (1 - momentum) * c`` with c the mean probability of the likeliest next
    token in the domain's samples; ``p = (1 - λ) prior + λ q`` with ``q ∝ prior * exp((1 - ECS) /
    T)`` and ``λ = exp(-5 (1 - progress)²)``. (After Chen, Ding, Gregory & Liu 2023, "IDA: Informed
    Domain Adaptive Semantic Segmentation", arXiv:2303.02741: an expected confidence score tracks
    how well each class is known, and a dynamic schedule determines how data is mixed.)

    Args:
        temperature: Low: the least sure domain gets nearly everything.
        momentum: How slowly earlier scores are forgotten, from 0 to below 1.

    Note:
        Carried over: classes of pixels became domains, the confidence in a class that in the next
        token. The paper's formulas could not be had, only its abstract; the softmax of one minus
        the score is that of rare class sampling (Hoyer, Dai & Van Gool 2022, arXiv:2111.14887), the
        schedule the ramp of Laine & Aila 2017 (arXiv:1610.02242), both usual there. Junk is never
        learned, so its confidence stays low and it is drawn ever more: the rule knows no tasks.
    """

    needs_impact = False
    needs = Needs(confidence=True)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"temperature": 0.05},
        {"temperature": 1.0},
    )

    def __init__(self, *, temperature: float = 0.2, momentum: float = 0.5) -> None:
        if temperature <= 0:
            raise ValueError("temperature must be above 0")
        if not 0 <= momentum < 1:
            raise ValueError("momentum must be from 0 to below 1")
        self.temperature = temperature
        self.momentum = momentum
        self._scores = LastSeen()

    def mixture(self, observation: Observation) -> PolicyDecision:
        """From the scores so far; the prior before there are any."""
        trained = observation.trained
        if trained is not None and trained.confidence_k is not None:
            self._track(trained.confidence_k)
        score_k, prior_k = self._scores.filled(), observation.prior
        if score_k is None:
            return PolicyDecision(
                observation.limits.project(prior_k),
                {"note": "no confidence is known yet: the prior holds"},
            )
        schedule = math.exp(-5.0 * (1.0 - observation.progress) ** 2)
        unsure_k = tilted(prior_k, (1.0 - score_k) / self.temperature)
        return PolicyDecision(
            observation.limits.project((1.0 - schedule) * prior_k + schedule * unsure_k),
            {"confidence": score_k.tolist(), "schedule": schedule},
        )

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains; of new samples no score is known."""
        self._scores.regroup(regrouping)

    def state_dict(self) -> dict[str, Any]:
        """The scores; None for a domain that was not drawn yet."""
        return self._scores.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._scores.load_state_dict(state)

    def _track(self, confidence_k: Float[np.ndarray, " k"]) -> None:
        before_k = self._scores.value_k
        if before_k is None:
            before_k = np.full(len(confidence_k), np.nan)
        moved_k = self.momentum * before_k + (1.0 - self.momentum) * confidence_k
        self._scores.see(np.where(np.isnan(before_k), confidence_k, moved_k))
