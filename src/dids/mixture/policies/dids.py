"""The policy ``dids``: every task spends its share of the data where its loss falls fastest.

Axis letters: k domains, t tasks.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from dids.domains.regrouping import Regrouping
from dids.mixture.averaged_impact import AveragedImpact, noise_share
from dids.mixture.explanation import domain_explanation, task_explanation
from dids.mixture.last_seen import LastSeen
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision, unmeasured
from dids.mixture.prior import leaning_prior
from dids.mixture.saturation import marginal_value, repeats
from dids.mixture.setting_ranges import (
    check_below_one,
    check_not_negative,
    check_positive,
    check_share,
)
from dids.mixture.task_mixtures import diminished, net_pull, task_mixtures
from dids.mixture.task_progress import progress_of_tasks, tilted_weights
from dids.mixture.task_reach import out_of_reach


class Dids:
    """The mean, by the tasks' weights, of the mixtures that each of them would train on.

    What a task prefers is averaged over rounds and believed as far as rounds agree; where it says
    nothing, its share goes by the prior, which may lean to domains that are not learnt yet.

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
        start: The part of the run, from 0 to 1, in which the share of a task that is out of reach
            goes by the prior. What is learnt early for a task whose form no domain has is lost
            again, and for good where the few domains that help it are learnt with it.
        ramp: The part of the run, from 0 to 1, over which such a task's share passes from the prior
            to what it prefers.
        reach: A task is out of reach, the more the farther, if a step on its own samples moves its
            outputs more than this many times as far as a step on any domain does, by the first
            measurement; 0: every task is.
        others_wait: How far the other tasks wait with one that is out of reach, from 0 (not at all)
            to 1 (as it does): where a few domains are drawn for them, it is lost as well.
        long_run: Floating-point operations of a training in which they wait so far, 6 times
            parameters times tokens. In a shorter one they wait less, as the square of its
            operations: the model does not get so far that it loses it. 0: always so far.
        loss_weight: How far the prior leans to domains whose own training loss is high: for each
            nat its part is e to this power times as large; 0 leaves it as it is. Where a model has
            hardly begun to learn, what no task asks for teaches the more the less of it is learnt;
            in a long run tasks of one-token answers may be lost for it.

    Note:
        The simplex problem for all tasks at once is the policy ``dids-joint``. It divides by the
        squares of the domains' steps, so that a domain whose gradient is long, because the tasks
        still need it, gets little.
    """

    needs_impact = True
    # Domains are used up and returns change between measurements, too. The first measurement, on
    # the proxy, says most.
    needs = Needs(every_round=True, measurements=2)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"others_wait": 0.0},
        {"loss_weight": 1.0},
    )

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
        start: float = 0.3,
        ramp: float = 0.4,
        reach: float = 10.0,
        others_wait: float = 1.0,
        long_run: float = 1.1e13,
        loss_weight: float = 0.0,
    ) -> None:
        check_below_one(ema=ema, decay=decay)
        check_positive(prior_vote=prior_vote)
        check_not_negative(caution=caution, damping=damping, reach=reach)
        check_not_negative(long_run=long_run, loss_weight=loss_weight)
        check_share(returns=returns, potential_weight=potential_weight)
        check_share(start=start, ramp=ramp, others_wait=others_wait)
        self.ema = ema
        self.caution = caution
        self.prior_vote = prior_vote
        self.damping = damping
        self.returns = returns
        self.potential_weight = potential_weight
        self.start = start
        self.ramp = ramp
        self.reach = reach
        self.others_wait = others_wait
        self.long_run = long_run
        self.loss_weight = loss_weight
        self.needs = replace(self.needs, training_losses=loss_weight > 0.0)
        self._losses = LastSeen()
        self._beyond_t: np.ndarray | None = None
        self._average = AveragedImpact(decay)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins, by all that was measured so far."""
        if observation.trained is not None and self.loss_weight > 0.0:
            self._losses.see(observation.trained.loss_k)
        average = self._average.matrices
        if observation.impact is not None:
            average = self._average.with_measurement(observation.impact)
            if self._beyond_t is None:
                self._beyond_t = out_of_reach(observation.impact, self.reach)
        if average is None or self._beyond_t is None:
            return unmeasured(observation)
        names = average.task_names
        progress = progress_of_tasks(names, observation.task_losses, observation.horizon_tokens)
        weight_t = tilted_weights(observation.task_weights, progress, self.potential_weight)
        value_k = marginal_value(repeats(observation.draws_k, observation.sizes_k))
        pull_kt = self._average.votes.beyond_doubt(self.caution)
        loss_k, prior_k = self._losses.filled(), observation.prior
        if loss_k is not None:
            prior_k = leaning_prior(prior_k, loss_k, self.loss_weight)
        mixture_tk = task_mixtures(
            average.gram_tkk,
            # What a domain has left to give falls with its repeats.
            net_pull(pull_kt, weight_t) * value_k[:, None],
            prior_k,
            signal_tk=average.signal_tk,
            prior_vote=self.prior_vote,
            damping=self.damping,
        )
        others_wait = self.others_wait * self._length(observation.training_flops) ** 2
        part_t = np.maximum(self._beyond_t, others_wait * self._beyond_t.max(initial=0.0))
        waiting_t = part_t * self._waiting(observation.progress)
        mixture_tk += waiting_t[:, None] * (prior_k - mixture_tk)
        returns = self.returns + (1.0 - self.returns) * observation.progress
        best_k = observation.limits.project(diminished(weight_t @ mixture_tk, prior_k, returns))
        next_k = observation.limits.project(
            self.ema * observation.previous + (1.0 - self.ema) * best_k
        )
        columns = {
            "utility": pull_kt @ weight_t,
            "best": best_k,
            "prior": prior_k,
            "loss": np.full(len(prior_k), np.nan) if loss_k is None else loss_k,
            "marginal_value": value_k,
            "noise_share": self._average.variance * noise_share(average),
        }
        domains = domain_explanation(average.domain_names, columns)
        by_domain = zip(domains, pull_kt * weight_t, mixture_tk.T * weight_t, strict=True)
        for domain, pull_t, share_t in by_domain:
            domains[domain]["pull"] = dict(zip(names, pull_t.tolist(), strict=True))
            domains[domain]["share"] = dict(zip(names, share_t.tolist(), strict=True))
        tasks = task_explanation(names, weight_t, progress)
        for number, task in enumerate(names):
            tasks[task]["waiting"] = float(waiting_t[number])
            tasks[task]["out_of_reach"] = float(self._beyond_t[number])
        return PolicyDecision(next_k, {"tasks": tasks, "domains": domains})

    def _length(self, training_flops: float | None) -> float:
        """How much of a long run this one is, at most 1."""
        if training_flops is None or self.long_run <= 0.0:
            return 1.0
        return min(1.0, training_flops / self.long_run)

    def _waiting(self, progress: float) -> float:
        """How far a task that is out of reach waits, from 0 to 1, at this part of the run."""
        if progress >= self.start + self.ramp:
            return 0.0
        if progress <= self.start:
            return 1.0
        return 1.0 - (progress - self.start) / self.ramp

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains."""
        self._average.regroup(regrouping)
        self._losses.regroup(regrouping)

    def state_dict(self) -> dict[str, Any]:
        """The averaged impact, which tasks are out of reach, and the domains' last losses."""
        beyond = None if self._beyond_t is None else self._beyond_t.tolist()
        losses = self._losses.state_dict()
        return {**self._average.state_dict(), "out_of_reach": beyond, "losses": losses}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._average.load_state_dict(state)
        beyond = state["out_of_reach"]
        self._beyond_t = None if beyond is None else np.array(beyond)
        if "losses" in state:  # of a run begun before there were any
            self._losses.load_state_dict(state["losses"])
