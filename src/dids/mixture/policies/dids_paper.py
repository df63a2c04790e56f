"""The policy ``dids-paper``: impact times improvement and potential, domain by domain.

Axis letters: k domains, t tasks.
"""

from typing import Any, Literal

import numpy as np

from dids.impact.matrices import ImpactMatrices
from dids.mixture.explanation import domain_explanation, task_explanation
from dids.mixture.forgetful import Forgetful
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision, unmeasured
from dids.mixture.saturation import marginal_value, repeats
from dids.mixture.setting_ranges import check_below_one, check_not_negative
from dids.mixture.task_progress import TaskProgress, filled, progress_of_tasks


class DidsPaper(Forgetful):
    """The paper's policy (Shi et al. 2025, arXiv:2504.13227), with the sign of impact put right.

    A domain's utility is the sum over tasks of its share of the task's impact times the task's
    relative improvement and potential, times what repetition leaves of it, divided by a power of
    its present probability (diminishing returns).

    Args:
        ema: Weight of the previous mixture in the next one.
        share_exponent: Power of the probability that the utility is divided by. 0.5 settles where
            ``p`` is proportional to ``utility ** (2/3)``.
        impact: ``distance``, the paper's, or ``cosine``, which orders domains better.

    Note:
        The released code divides by the probability itself and oscillates, gives every task a
        potential of 1 at first, and falls back to uniform where no utility is positive. Here a
        potential that is not known is neutral, and such a mixture stays as it is.
    """

    needs_impact = True
    needs = Needs(robust_tasks=False)

    def __init__(
        self,
        *,
        ema: float = 0.2,
        share_exponent: float = 0.5,
        impact: Literal["distance", "cosine"] = "distance",
    ) -> None:
        check_below_one(ema=ema)
        check_not_negative(share_exponent=share_exponent)
        self.ema = ema
        self.share_exponent = share_exponent
        self.impact = impact

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins; the one before where no domain has utility."""
        previous_k = observation.previous
        if observation.impact is None:
            return unmeasured(observation)
        names = observation.impact.task_names
        progress = progress_of_tasks(names, observation.task_losses, observation.horizon_tokens)
        weight_t = observation.task_weights * gain_of_tasks(progress)
        value_k = marginal_value(repeats(observation.draws_k, observation.sizes_k))
        utility_k = impact_shares(observation.impact, self.impact) @ weight_t * value_k
        columns = {"utility": utility_k, "marginal_value": value_k}
        explanation: dict[str, Any] = {
            "tasks": task_explanation(names, weight_t, progress),
            "domains": domain_explanation(observation.impact.domain_names, columns),
        }
        score_k = np.maximum(utility_k, 0.0)
        score_k = score_k / np.maximum(previous_k, 1e-6) ** self.share_exponent
        if score_k.sum() <= 0.0:
            explanation["note"] = "no domain has a positive utility: the mixture stays"
            return PolicyDecision(observation.limits.project(previous_k), explanation)
        next_k = self.ema * previous_k + (1.0 - self.ema) * score_k / score_k.sum()
        return PolicyDecision(observation.limits.project(next_k), explanation)


def impact_shares(impact: ImpactMatrices, form: Literal["distance", "cosine"]) -> np.ndarray:
    """Each domain's share of every task's impact: from 0 for the worst, summing to 1.

    Args:
        impact: Of domains on tasks.
        form: Which one. Distances are turned round: low is good.

    Returns:
        Shape ``[k, t]``. Where all domains are alike, all shares are.
    """
    good_kt = impact.fisher_cosine() if form == "cosine" else -impact.kl_distance()
    above_kt = good_kt - good_kt.min(axis=0)
    total_t = above_kt.sum(axis=0)
    share_kt: np.ndarray = np.full_like(above_kt, 1.0 / len(above_kt))
    np.divide(above_kt, total_t, out=share_kt, where=total_t > 0)
    return share_kt


def gain_of_tasks(progress: list[TaskProgress]) -> np.ndarray:
    """Relative improvement plus potential of every task; all 1 where nothing is known yet."""
    terms = [
        filled([seen.improvement for seen in progress]),
        filled([seen.potential for seen in progress]),
    ]
    known = [term for term in terms if term is not None]
    return np.asarray(sum(known)) if known else np.ones(len(progress))
