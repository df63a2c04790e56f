"""The policy ``dids``: the simplex problem on smoothed, noise-corrected impact.

Axis letters: k domains, t tasks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dids.impact.matrices import ImpactMatrices
from dids.mixture.explanation import domain_explanation, task_explanation
from dids.mixture.observation import Observation, PolicyDecision
from dids.mixture.saturation import marginal_value, repeats
from dids.mixture.simplex_problem import relative_weights, remaining_distance, simplex_mixture
from dids.mixture.task_progress import TaskProgress, filled, progress_of_tasks


class Dids:
    """The mixture whose step comes closest to all tasks' own steps, each by its own measure.

    Args:
        ema: Weight of the previous mixture in the next one, from 0 to below 1.
        decay: Weight of earlier rounds in the averaged impact, from 0 to below 1.
        prior_strength: Pull towards the prior; the tasks' whole distance weighs 1.
        potential_weight: How far the tasks' weights follow improvement and potential: 0 weighs them
            as the user did, 1 by improvement and potential alone.
        debias: Whether the noise of the estimates is taken out of squared lengths.
    """

    needs_impact = True

    def __init__(
        self,
        *,
        ema: float = 0.5,
        decay: float = 0.8,
        prior_strength: float = 0.0,
        potential_weight: float = 0.0,
        debias: bool | float = True,
    ) -> None:
        self.ema = ema
        self.decay = decay
        self.prior_strength = prior_strength
        self.potential_weight = potential_weight
        self.debias = bool(debias)
        self._impact: ImpactMatrices | None = None

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins; the one before where nothing was measured."""
        if observation.impact is None:
            kept = observation.limits.project(observation.previous)
            return PolicyDecision(kept, {"note": "no impact was measured: the mixture stays"})
        self._impact = observation.impact.relative().smoothed(self._impact, self.decay)
        impact = self._impact.debiased() if self.debias else self._impact
        progress = progress_of_tasks(
            impact.task_names, observation.task_losses, observation.horizon_tokens
        )
        weight_t = self._task_weights(observation.task_weights.astype(np.float64), progress)
        value_k = marginal_value(repeats(observation.draws_k, observation.sizes_k))
        # What a domain has left to give falls with its repeats; its step stays as long as it is.
        kernel_kt = impact.kernel_kt * value_k[:, None]
        problem = impact.gram_tkk, kernel_kt, impact.target_norm_t
        best_k = simplex_mixture(
            *problem,
            weight_t,
            observation.limits,
            prior=observation.prior,
            prior_strength=self.prior_strength,
        )
        next_k = observation.limits.project(
            self.ema * observation.previous + (1.0 - self.ema) * best_k
        )
        tasks = task_explanation(impact.task_names, weight_t, progress)
        for task, remaining in zip(tasks, remaining_distance(*problem, next_k), strict=True):
            tasks[task]["remaining_distance"] = float(remaining)
        utility_k = kernel_kt @ relative_weights(weight_t, impact.target_norm_t)
        columns = {"utility": utility_k, "best": best_k, "marginal_value": value_k}
        return PolicyDecision(
            next_k, {"tasks": tasks, "domains": domain_explanation(impact.domain_names, columns)}
        )

    def _task_weights(self, given_t: np.ndarray, progress: list[TaskProgress]) -> np.ndarray:
        """The user's weights, tilted by what each task still gains relative to its own loss."""
        gains = filled([seen.potential for seen in progress])
        improvements = filled([seen.improvement for seen in progress])
        if improvements is not None:
            gains = improvements if gains is None else gains + improvements
        if gains is not None and self.potential_weight > 0.0:
            gains = np.maximum(gains, 0.0)
            if gains.mean() > 0.0:
                tilt_t = gains / gains.mean()
                given_t = given_t * (1.0 - self.potential_weight + self.potential_weight * tilt_t)
        return np.asarray(given_t / given_t.sum())

    def state_dict(self) -> dict[str, Any]:
        """The averaged impact."""
        return {"impact": None if self._impact is None else self._impact.to_json()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        saved = state["impact"]
        self._impact = None if saved is None else ImpactMatrices.from_json(saved)
