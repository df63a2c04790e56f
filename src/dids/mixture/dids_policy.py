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
from dids.mixture.simplex_problem import relative_weights, simplex_mixture
from dids.mixture.task_progress import TaskProgress, filled, progress_of_tasks
from dids.mixture.votes import Votes


class Dids:
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
        self.ema = ema
        self.decay = decay
        self.caution = caution
        self.prior_strength = prior_strength
        self.potential_weight = potential_weight
        self.damping = damping
        self.votes = bool(votes)
        self.free_length = bool(free_length)
        self._impact: ImpactMatrices | None = None
        self._votes: Votes | None = None
        self._num_measurements = 0
        self._variance = 1.0

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins; the one before where nothing was measured."""
        if observation.impact is None:
            kept = observation.limits.project(observation.previous)
            return PolicyDecision(kept, {"note": "no impact was measured: the mixture stays"})
        average = self._averaged(observation.impact)
        impact = average.debiased()
        progress = progress_of_tasks(
            impact.task_names, observation.task_losses, observation.horizon_tokens
        )
        weight_t = self._task_weights(observation.task_weights.astype(np.float64), progress)
        value_k = marginal_value(repeats(observation.draws_k, observation.sizes_k))
        pull_kt = impact.kernel_kt
        if self.votes and self._votes is not None:
            pull_kt = self._votes.beyond_doubt(self.caution)
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
            noise_tk=self._variance * average.noise(),
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
            "noise_share": self._variance * noise_share(average),
        }
        domains = domain_explanation(impact.domain_names, columns)
        for domain, pull_t in zip(domains, pull_kt * weight_t, strict=True):
            domains[domain]["pull"] = dict(zip(impact.task_names, pull_t.tolist(), strict=True))
        tasks = task_explanation(impact.task_names, weight_t, progress)
        return PolicyDecision(next_k, {"tasks": tasks, "domains": domains})

    def _averaged(self, measured: ImpactMatrices) -> ImpactMatrices:
        """The exponential average with this measurement, all rounds counted as if weighted alike.

        Without the correction for its start (Kingma & Ba 2015, arXiv:1412.6980, section 3) the
        first measurement, the stalest, would weigh most for several rounds.
        """
        seen = self._num_measurements
        before = self.decay * (1.0 - self.decay**seen) / (1.0 - self.decay ** (seen + 1))
        comparable = measured.in_typical_steps()
        if self._votes is None:
            self._votes = Votes.none(*comparable.kernel_kt.shape)
        self._votes = self._votes.after(comparable.kernel_kt, self.decay)
        self._impact = comparable.smoothed(self._impact, before)
        self._variance = before**2 * self._variance + (1.0 - before) ** 2
        self._num_measurements = seen + 1
        return self._impact

    def _task_weights(self, given_t: np.ndarray, progress: list[TaskProgress]) -> np.ndarray:
        """The user's weights, tilted by what each task's loss promises, relative to itself."""
        gains = filled([seen.promise for seen in progress])
        if gains is not None and self.potential_weight > 0.0:
            gains = np.maximum(gains, 0.0)
            if gains.mean() > 0.0:
                tilt_t = gains / gains.mean()
                given_t = given_t * (1.0 - self.potential_weight + self.potential_weight * tilt_t)
        return np.asarray(given_t / given_t.sum())

    def state_dict(self) -> dict[str, Any]:
        """The averaged impact, and of how many measurements it is the average."""
        return {
            "impact": None if self._impact is None else self._impact.to_json(),
            "num_measurements": self._num_measurements,
            "variance": self._variance,
            "votes": None if self._votes is None else self._votes.to_json(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        saved = state["impact"]
        self._impact = None if saved is None else ImpactMatrices.from_json(saved)
        self._num_measurements = int(state["num_measurements"])
        self._variance = float(state["variance"])
        self._votes = None if state["votes"] is None else Votes.from_json(state["votes"])


def noise_share(impact: ImpactMatrices) -> np.ndarray:
    """How much of each domain's squared step is noise of one measurement, from 0 to 1."""
    length_k = np.diagonal(impact.gram_tkk, axis1=1, axis2=2).sum(axis=0)
    noise_k = impact.noise().sum(axis=0)
    share_k: np.ndarray = np.zeros_like(length_k)
    np.divide(noise_k, length_k, out=share_k, where=length_k > 0)
    return np.asarray(np.clip(share_k, 0.0, 1.0))
