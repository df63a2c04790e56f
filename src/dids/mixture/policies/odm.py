"""The policy ``odm``: a bandit whose reward is the loss.

Axis letters: k domains.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax

from dids.domains.regrouping import Regrouping
from dids.mixture.explanation import domain_explanation
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision
from dids.mixture.setting_ranges import check_below_one

_LEAST_PROBABILITY = 1e-6


class OnlineDataMixing:
    """Exp3 over domains, where what is gained by drawing one is its training loss.

    In step t, ``p_k = (1 - K e_t) softmax(e_{t-1} R_k) + e_t`` with the exploration rate ``e_t =
    min(1 / K, sqrt(ln K / (K t)))``. After it, of every domain that was drawn, ``R_k <- smoothing
    R_k + (1 - smoothing) loss_k / p_k``: the paper's moving average in the place of Exp3's sum.
    (Albalak, Pan, Raffel & Wang 2023, arXiv:2312.02406; Exp3 is that of Auer et al. 2002, SIAM J.
    Comput. 32.)

    Args:
        smoothing: Weight of the rewards of before.
        warmup: Part of the run that is trained with the prior, where no reward counts.

    Note:
        The paper's own text could not be had. The rule is that of the ``Exp3`` classes of its
        repository (github.com/alon-albalak/online-data-mixing) with the moving average that two
        other implementations of the paper agree on; the warm-up is that of the repository's
        scripts, 2,000 of 100,000 steps.

        Where a step draws from several domains, as ours do, each of them is rewarded with the mean
        loss of its own tokens in that step, over its probability in the mixture that held, as the
        repository does with the domains of the micro-batches that a step accumulates.
        Losses of several steps count as if each of them had been theirs.

        With e_t the exponent falls as one over the root of t while R stays bounded, so that every
        run ends near uniform. The code that was released has another rule, ``p_k = (1 - K e_t) R_k
        / sum_l R_l + e_t`` with R the moving average of ``exp(loss_k)``, without the division by
        p_k.
    """

    needs_impact = False
    needs = Needs(every_steps=1, training_losses=True)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"smoothing": 0.5},
        {"smoothing": 0.98},
    )

    def __init__(self, *, smoothing: float = 0.9, warmup: float = 0.02) -> None:
        check_below_one(smoothing=smoothing, warmup=warmup)
        self.smoothing = smoothing
        self.warmup = warmup
        self._reward_k: np.ndarray | None = None
        self._step = 0

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the step that begins; the prior while the run warms up."""
        num_domains, step = len(observation.sizes_k), observation.step + 1
        if self._reward_k is None:
            self._reward_k = np.zeros(num_domains)
        num_new, self._step = observation.step - self._step, observation.step
        if observation.step < self.warmup * observation.num_steps:
            return PolicyDecision(observation.limits.project(observation.prior))
        self._reward(observation, num_new)
        before, now = exploration(num_domains, max(1, step - 1)), exploration(num_domains, step)
        best_k = (1.0 - num_domains * now) * softmax(before * self._reward_k) + now
        columns = {"reward": self._reward_k, "best": best_k}
        domains = domain_explanation(observation.domain_names, columns)
        return PolicyDecision(observation.limits.project(best_k), {"domains": domains})

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains; one of new samples begins without a reward."""
        if self._reward_k is not None:
            self._reward_k = np.asarray(regrouping.origin_kj @ self._reward_k)

    def state_dict(self) -> dict[str, Any]:
        """The rewards so far."""
        reward = None if self._reward_k is None else self._reward_k.tolist()
        return {"reward": reward, "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        reward = state["reward"]
        self._reward_k = None if reward is None else np.array(reward, dtype=np.float64)
        self._step = int(state["step"])

    def _reward(self, observation: Observation, num_steps: int) -> None:
        assert self._reward_k is not None
        if observation.trained is None:
            return
        loss_k = observation.trained.loss_k
        # Limits may have come to forbid a domain of which samples were still on their way.
        gained_k = loss_k / np.maximum(observation.previous, _LEAST_PROBABILITY)
        kept = self.smoothing**num_steps
        mean_k = kept * self._reward_k + (1.0 - kept) * gained_k
        self._reward_k = np.where(np.isfinite(loss_k), mean_k, self._reward_k)


def exploration(num_domains: int, step: int) -> float:
    """The least probability of a domain in a step, counted from 1: Exp3's exploration rate.

    Example:
        >>> exploration(4, 1), round(exploration(4, 100), 4)
        (0.25, 0.0589)
    """
    return min(1.0 / num_domains, math.sqrt(math.log(num_domains) / (num_domains * step)))
