"""The policy ``dids-joint``: one simplex problem for all tasks, on averaged impact.

Axis letters: k domains, t tasks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dids.domains.regrouping import Regrouping
from dids.mixture.averaged_impact import AveragedImpact, noise_share
from dids.mixture.explanation import domain_explanation, task_explanation
from dids.mixture.observation import Observation, PolicyDecision, unmeasured
from dids.mixture.saturation import marginal_value, repeats
from dids.mixture.setting_ranges import check_below_one, check_not_negative, check_share
from dids.mixture.simplex_problem import relative_weights, simplex_mixture
from dids.mixture.task_progress import progress_of_tasks, tilted_weights


class DidsJoint:
    """The mixture whose step goes where all tasks ask it to go, each by its own measure.

    The best mixture for an estimate is not the best mixture: it follows the noise. So what a task
    prefers is averaged over rounds and believed as far as rounds agree, squared lengths are
    corrected for noise, and each domain is held to the prior as firmly as its estimate is noisy.

    Args:
        ema: Weight of the previous mixture in the next one, from 0 to below 1.
        decay: How slowly earlier rounds are forgotten in the averaged impact, from 0 to below 1.
        caution: How many standard errors a task's preference must be away from none at all to
            count, and it counts by what is beyond them.
        prior_strength: Pull towards the prior; the tasks' whole distance weighs 1.
        potential_weight: How far the tasks' weights follow their potential: 0 weighs them as the
            user did, 1 by what their losses still promise alone.
        damping: How little the steps' own lengths are trusted, in squares of a typical step
            (Levenberg 1944): a domain with a short step would be drawn without end, one with a long
            step hardly at all, as if what is measured at a point held all the way.
        votes: Whether tasks' preferences are brought to one size in every round, for every task.
        free_length: Whether a mixture is judged at the best length of its step, or at the length
            that it has.
    """

    needs_impact = True

    def __init__(
        self,
        *,
        ema: float = 0.5,
        decay: float = 0.9,
        caution: float = 1.5,
        prior_strength: float = 0.0,
        potential_weight: float = 0.0,
        damping: float = 1.0,
        votes: bool | float = True,
        free_length: bool | float = True,
    ) -> None:
        check_below_one(ema=ema, decay=decay)
        check_not_negative(caution=caution, prior_strength=prior_strength, damping=damping)
        check_share(potential_weight=potential_weight)
        self.ema = ema
        self.caution = caution
        self.prior_strength = prior_strength
        self.potential_weight = potential_weight
        self.damping = damping
        self.votes = bool(votes)
        self.free_length = bool(free_length)
        self._average = AveragedImpact(decay)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins; the one before where nothing was measured."""
        if observation.impact is None:
            return unmeasured(observation)
        average = self._average.with_measurement(observation.impact)
        impact = average.debiased()
        progress = progress_of_tasks(
            impact.task_names, observation.task_losses, observation.horizon_tokens
        )
        weight_t = tilted_weights(observation.task_weights, progress, self.potential_weight)
        value_k = marginal_value(repeats(observation.draws_k, observation.sizes_k))
        pull_kt = impact.kernel_kt
        if self.votes:
            pull_kt = self._average.votes.beyond_doubt(self.caution)
        # What a domain has left to give falls with its repeats; its step stays as long as it is.
        kernel_kt = pull_kt * value_k[:, None]
        best_k = simplex_mixture(
            impact.gram_tkk + self.damping * np.eye(len(kernel_kt)),
            kernel_kt,
            impact.target_norm_t,
            weight_t,
            observation.limits,
            prior=observation.prior,
            prior_strength=self.prior_strength,
            noise_tk=self._average.variance * average.noise(),
            sample_weight_k=observation.scored_tokens_k,
            free_length=self.free_length,
        )
        next_k = observation.limits.project(
            self.ema * observation.previous + (1.0 - self.ema) * best_k
        )
        columns = {
            "utility": kernel_kt @ relative_weights(weight_t, impact.target_norm_t),
            "best": best_k,
            "marginal_value": value_k,
            "noise_share": self._average.variance * noise_share(average),
        }
        domains = domain_explanation(impact.domain_names, columns)
        for domain, pull_t in zip(domains, pull_kt * weight_t, strict=True):
            domains[domain]["pull"] = dict(zip(impact.task_names, pull_t.tolist(), strict=True))
        tasks = task_explanation(impact.task_names, weight_t, progress)
        return PolicyDecision(next_k, {"tasks": tasks, "domains": domains})

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains."""
        self._average.regroup(regrouping)

    def state_dict(self) -> dict[str, Any]:
        """The averaged impact."""
        return self._average.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._average.load_state_dict(state)
