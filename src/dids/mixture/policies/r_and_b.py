"""The policy ``r-and-b``: a softmax of what each domain's gradient does for all domains together.

Axis letters: k, l domains, t tasks.
"""

from typing import ClassVar

import numpy as np

from dids.mixture.explanation import impact_explanation
from dids.mixture.forgetful import Forgetful
from dids.mixture.multiplicative_weights import tilted
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision, unmeasured


class RAndB(Forgetful):
    """``p = softmax(strength * G q / |G q|)``, afresh in every round.

    ``G_kl = <g_k, g_l>`` are inner products of the domains' mean gradients of the round and ``q``
    how often each domain is met in the evaluation. R&B, the balancing half (Ge et al. 2025,
    arXiv:2505.00358, algorithm 1 line 14 and section 3.4); its regrouping half is what clustering
    does in a run.

    Args:
        strength: The paper's lambda. It gives 3, for one of its data sets (table 7).
        tasks: Whether the tasks' own gradients take the place of the domains': ``<g_k, sum_t w_t
            h_t>`` for ``G q``.

    Note:
        The paper's evaluation data are of the training's domains, and no gradient of theirs is
        taken: here ``q`` is the prior, and the tasks are not looked at. The paper's derivation
        starts from the gradient of the evaluation loss, which ``tasks`` puts in. It compares
        gradients of the last layer alone; here, of all that impact is measured on.
    """

    needs_impact = True
    needs = Needs(metric="plain", robust_tasks=False)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"tasks": True},
        {"tasks": True, "strength": 10.0},
    )

    def __init__(self, *, strength: float = 3.0, tasks: bool | float = False) -> None:
        if not strength > 0.0:
            raise ValueError(f"strength must be above 0, but it is {strength}.")
        self.strength = strength
        self.tasks = bool(tasks)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins; the one before where nothing was measured."""
        impact = observation.impact
        if impact is None:
            return unmeasured(observation)
        weight_t = observation.task_weights / observation.task_weights.sum()
        gain_k = impact.gram_tkk[0] @ observation.prior
        if self.tasks:
            gain_k = impact.kernel_kt @ weight_t
        length = float(np.linalg.norm(gain_k))
        best_k = observation.previous
        if length > 0.0:
            best_k = tilted(np.ones(len(gain_k)), self.strength * gain_k / length)
        columns = {"utility": gain_k, "best": best_k}
        return PolicyDecision(
            observation.limits.project(best_k),
            impact_explanation(observation, weight_t, impact.kernel_kt, columns),
        )
