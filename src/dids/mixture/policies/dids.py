"""The policy ``dids``: every task spends its share of the data where its loss falls fastest.

Axis letters: k domains, t tasks.
"""

from collections.abc import Mapping
from typing import Any

from dids.domains.regrouping import Regrouping
from dids.mixture.averaged_impact import AveragedImpact, noise_share
from dids.mixture.explanation import domain_explanation, task_explanation
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision, unmeasured
from dids.mixture.saturation import marginal_value, repeats
from dids.mixture.setting_ranges import (
    check_below_one,
    check_not_negative,
    check_positive,
    check_share,
)
from dids.mixture.task_mixtures import diminished, net_pull, task_mixtures
from dids.mixture.task_progress import progress_of_tasks, tilted_weights


class Dids:
    """The mean, by the tasks' weights, of the mixtures that each of them would train on.

    What a task prefers is averaged over rounds and believed as far as rounds agree; where it says
    nothing, its share goes by the prior.

    Args:
        ema: Weight of the previous mixture in the next one, from 0 to below 1.
        decay: How slowly earlier rounds are forgotten in the averaged impact, from 0 to below 1.
        caution: How many standard errors a task's preference must be away from none at all to
            count, and it counts by what is beyond them.
        prior_vote: The prior's own vote in every task's mixture, above 0.
        damping: How little it is trusted that domains whose steps look alike do the same.
        returns: The power that a domain's part of the mixture is raised to at first, since returns
            diminish. It grows to 1 by the end of the run: what is learnt last stays.
        potential_weight: How far the tasks' weights follow their potential: 0 weighs them as the
            user did, 1 by what their losses still promise alone.
        start: The part of the run, from 0 to 1, that goes by the prior, whatever impact says. In a
            long run a task whose form no domain has can be lost for good to what was learnt early
            of the few that help it.
        ramp: The part of the run, from 0 to 1, over which what is wanted passes from there to what
            impact says.

    Note:
        The simplex problem for all tasks at once is the policy ``dids-joint``. It divides by the
        squares of the domains' steps, so that a domain whose gradient is long, because the tasks
        still need it, gets little.
    """

    needs_impact = True
    # Domains are used up and returns change between measurements, too. The first measurement, on
    # the proxy, says most.
    needs = Needs(every_round=True, measurements=2)

    def __init__(
        self,
        *,
        ema: float = 0.5,
        decay: float = 0.9,
        caution: float = 1.5,
        prior_vote: float = 0.1,
        damping: float = 1.0,
        returns: float = 0.5,
        potential_weight: float = 0.25,
        start: float = 0.0,
        ramp: float = 0.0,
    ) -> None:
        check_below_one(ema=ema, decay=decay)
        check_positive(prior_vote=prior_vote)
        check_not_negative(caution=caution, damping=damping)
        check_share(returns=returns, potential_weight=potential_weight, start=start, ramp=ramp)
        self.ema = ema
        self.caution = caution
        self.prior_vote = prior_vote
        self.damping = damping
        self.returns = returns
        self.potential_weight = potential_weight
        self.start = start
        self.ramp = ramp
        self._average = AveragedImpact(decay)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins, by all that was measured so far."""
        average = self._average.matrices
        if observation.impact is not None:
            average = self._average.with_measurement(observation.impact)
        if average is None:
            return unmeasured(observation)
        names = average.task_names
        progress = progress_of_tasks(names, observation.task_losses, observation.horizon_tokens)
        weight_t = tilted_weights(observation.task_weights, progress, self.potential_weight)
        value_k = marginal_value(repeats(observation.draws_k, observation.sizes_k))
        pull_kt = self._average.votes.beyond_doubt(self.caution)
        mixture_tk = task_mixtures(
            average.gram_tkk,
            # What a domain has left to give falls with its repeats.
            net_pull(pull_kt, weight_t) * value_k[:, None],
            observation.prior,
            signal_tk=average.signal_tk,
            prior_vote=self.prior_vote,
            damping=self.damping,
        )
        returns = self.returns + (1.0 - self.returns) * observation.progress
        wanted_k = diminished(weight_t @ mixture_tk, observation.prior, returns)
        said = self._said(observation.progress)
        wanted_k = said * wanted_k + (1.0 - said) * observation.prior
        best_k = observation.limits.project(wanted_k)
        next_k = observation.limits.project(
            self.ema * observation.previous + (1.0 - self.ema) * best_k
        )
        columns = {
            "utility": pull_kt @ weight_t,
            "best": best_k,
            "marginal_value": value_k,
            "noise_share": self._average.variance * noise_share(average),
        }
        domains = domain_explanation(average.domain_names, columns)
        by_domain = zip(domains, pull_kt * weight_t, mixture_tk.T * weight_t, strict=True)
        for domain, pull_t, share_t in by_domain:
            domains[domain]["pull"] = dict(zip(names, pull_t.tolist(), strict=True))
            domains[domain]["share"] = dict(zip(names, share_t.tolist(), strict=True))
        return PolicyDecision(
            next_k, {"tasks": task_explanation(names, weight_t, progress), "domains": domains}
        )

    def _said(self, progress: float) -> float:
        """How far impact has a say, from 0 to 1, at this part of the run."""
        if progress >= self.start + self.ramp:
            return 1.0
        if progress <= self.start:
            return 0.0
        return (progress - self.start) / self.ramp

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains."""
        self._average.regroup(regrouping)

    def state_dict(self) -> dict[str, Any]:
        """The averaged impact."""
        return self._average.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._average.load_state_dict(state)
