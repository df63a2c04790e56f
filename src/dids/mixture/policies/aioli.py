"""The policy ``aioli``: in the run itself, mixtures are tried for a few steps to see what they do.

Axis letters: k domains, t tasks, s segments of a sweep.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64

from dids.domains.regrouping import Regrouping
from dids.mixture.multiplicative_weights import MultiplicativeWeights
from dids.mixture.needs import Needs
from dids.mixture.newest_losses import NewestLosses, newest_losses
from dids.mixture.observation import Observation, PolicyDecision
from dids.mixture.setting_ranges import check_positive

# Learning may take no more than this part of a run; else the mixture stays at the prior.
_MOST_LEARNING = 2 / 3


class Aioli:
    """``p_k`` is multiplied by ``exp(step_size * sum_t A_tk)``, with A learnt in every round.

    A round begins with sweeps: every domain in turn, in random order, gets most of the weight for a
    few steps, ``q = (1 - smoothing) e_k + smoothing / k``, and what each task's validation loss
    drops by is noted. ``A_t = Q^(-1) drop_t`` solves for what each domain alone does; A is shifted
    to have no negative entry and scaled to sum to 1. The rest of the round is trained on ``p``.
    (Chen et al. 2024, arXiv:2411.05735, algorithms 1 and 2; the shift is read in the released code,
    ``trainer/aioli_trainer.py``.)

    Args:
        step_size: The paper's eta.
        sweeps: Over all domains, in every round.
        segment_steps: Optimizer steps of each try; a long run, which is asked less often, has
            longer ones.
        smoothing: Part of a try's mixture that goes to all domains alike.
        rounds: Of the whole run.
        share: Part of the run that sweeps may take.

    Note:
        The defaults are those of the released scripts for two domains (``lp_rounds``, ``lp_steps``,
        ``one_hot_factor`` 0.625, twenty rounds); there, sweeps take 13 % of a round, and 29 % with
        three domains. With more domains, sweeps get fewer and rounds longer until they keep to
        ``share``, with at least one sweep; where that takes more than two thirds of a run, it stays
        at the prior. A sums to 1 however many domains there are, so that with many ``step_size``
        moves little. Rounds are those of the paper, not the run's. Tasks stand for the validation
        sets of the domains, with the user's weights; their losses are measured every
        ``segment_steps`` steps, though only sweeps look at them. A row of Q is what was drawn while
        the drop was seen: limits, whole samples and loaders that read ahead make it differ from
        what was asked for.
    """

    needs_impact = False
    needs = Needs(every_steps=4, task_losses=True)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"step_size": 5.0},
        {"step_size": 5.0, "segment_steps": 2},
    )

    def __init__(
        self,
        *,
        step_size: float = 0.2,
        sweeps: int | float = 4,
        segment_steps: int | float = 4,
        smoothing: float = 0.75,
        rounds: int | float = 20,
        share: float = 0.3,
    ) -> None:
        check_positive(step_size=step_size)
        for name, count in [("sweeps", sweeps), ("segment_steps", segment_steps)]:
            if count != int(count) or count < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, but it is {count}.")
        if not rounds >= 1 or not 0.0 < share <= 1.0 or not 0.0 <= smoothing < 1.0:
            raise ValueError(
                "rounds must be 1 or more, share above 0 up to 1 and smoothing from 0 to below 1, "
                f"but are {rounds}, {share}, {smoothing}."
            )
        self.step_size = step_size
        self.sweeps = int(sweeps)
        self.segment_steps = int(segment_steps)
        self.smoothing = smoothing
        self.rounds = rounds
        self.share = share
        self.needs = replace(self.needs, every_steps=self.segment_steps)
        self._weights = MultiplicativeWeights()
        self._asked_at = 0
        self._steps_between = self.segment_steps
        self._round_start: int | None = None
        self._num_rounds = 0
        self._sweep: _Sweep | None = None

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture until it is asked again: a try's within a sweep, else the one learnt."""
        self._steps_between = max(self._steps_between, observation.step - self._asked_at)
        self._asked_at = observation.step
        losses = newest_losses(observation)
        if losses is None:
            return self._learnt(observation, "no task has a validation loss yet")
        note = None
        if self._sweep is not None:
            self._sweep.see(observation, losses, self.segment_steps)
            if self._sweep.is_over:
                note = "learnt anew what domains do for the tasks"
                self._weights.add(self.step_size * self._sweep.gains(losses.weight_t))
                self._sweep = None
        if self._sweep is None and self._is_new_round(observation):
            order_s = self._order(len(observation.prior), observation.num_steps)
            self._sweep = _Sweep(order_s)
            self._sweep.begin_try(observation, losses)
            self._round_start = observation.step
            self._num_rounds += 1
        if self._sweep is None:
            return self._learnt(observation, note)
        tried_k = _smoothed(self._sweep.domain, len(observation.prior), self.smoothing)
        note = f"tries a mixture: {len(self._sweep.left)} of this sweep are left"
        return PolicyDecision(observation.limits.project(tried_k), {"note": note})

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains; a sweep that is under way begins again."""
        self._weights.regroup(regrouping)
        if self._sweep is not None:
            self._sweep, self._round_start = None, None

    def state_dict(self) -> dict[str, Any]:
        """What was learnt, and how far the sweep is."""
        return {
            "weights": self._weights.state_dict(),
            "asked_at": self._asked_at,
            "steps_between": self._steps_between,
            "round_start": self._round_start,
            "num_rounds": self._num_rounds,
            "sweep": None if self._sweep is None else self._sweep.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._weights.load_state_dict(state["weights"])
        self._asked_at = int(state["asked_at"])
        self._steps_between = int(state["steps_between"])
        self._round_start = state["round_start"]
        self._num_rounds = int(state["num_rounds"])
        self._sweep = None if state["sweep"] is None else _Sweep.from_state(state["sweep"])

    def _learnt(self, observation: Observation, note: str | None) -> PolicyDecision:
        mixture_k = observation.limits.project(self._weights.mixture(observation.prior))
        return PolicyDecision(mixture_k, {} if note is None else {"note": note})

    def _num_sweeps(self, num_domains: int, num_steps: int) -> int:
        """As many as the whole run has room for, of those asked for; 0: not one."""
        one_sweep = num_domains * self._steps_between
        if one_sweep > _MOST_LEARNING * num_steps:
            return 0
        return max(1, min(self.sweeps, int(self.share * num_steps) // one_sweep))

    def _is_new_round(self, observation: Observation) -> bool:
        num_domains, num_steps = len(observation.prior), observation.num_steps
        num_sweeps = self._num_sweeps(num_domains, num_steps)
        learning_steps = num_sweeps * num_domains * self._steps_between
        if num_sweeps == 0 or observation.step + learning_steps >= num_steps:
            return False
        if self._round_start is None:
            return True
        if (self._num_rounds + 1) * learning_steps > self.share * num_steps:
            return False
        round_steps = max(num_steps / self.rounds, learning_steps / self.share)
        return observation.step >= self._round_start + round_steps

    def _order(self, num_domains: int, num_steps: int) -> list[int]:
        random = np.random.Generator(np.random.Philox(key=[0, self._num_rounds]))
        sweeps = range(self._num_sweeps(num_domains, num_steps))
        return [int(k) for _ in sweeps for k in random.permutation(num_domains)]


class _Sweep:
    """Tries that are under way.

    Args:
        left: Domains that are still to be tried, the present one first.
    """

    def __init__(self, left: list[int]) -> None:
        self.left = left
        self._step = 0
        self._losses: list[float] = []
        self._draws: list[int] = []
        self._mixtures: list[list[float]] = []
        self._drops: list[list[float]] = []

    @property
    def domain(self) -> int:
        """That gets most of the weight in the present try."""
        return self.left[0]

    @property
    def is_over(self) -> bool:
        """Whether no try is left."""
        return not self.left

    def begin_try(self, observation: Observation, losses: NewestLosses) -> None:
        """Remember where things stand."""
        self._step = observation.step
        self._losses = losses.loss_t.tolist()
        self._draws = observation.draws_k.tolist()

    def see(self, observation: Observation, losses: NewestLosses, segment_steps: int) -> None:
        """Note what the present try did, if it was long enough; drops are per segment."""
        num_steps = observation.step - self._step
        drawn_k = observation.draws_k - np.array(self._draws)
        if num_steps < segment_steps or drawn_k.sum() <= 0:
            return
        drop_t = (np.array(self._losses) - losses.loss_t) * segment_steps / num_steps
        self._mixtures.append((drawn_k / drawn_k.sum()).tolist())
        self._drops.append(drop_t.tolist())
        self.left = self.left[1:]
        self.begin_try(observation, losses)

    def gains(self, weight_t: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " k"]:
        """What each domain alone does for all tasks, of a whole that is 1."""
        # With as many tries of each mixture, this is the inverse times the mean drops.
        law_kt = np.linalg.lstsq(np.array(self._mixtures), np.array(self._drops), rcond=None)[0]
        law_kt = law_kt * weight_t
        law_kt = law_kt - min(0.0, float(law_kt.min()))
        total = float(law_kt.sum())
        return np.asarray(law_kt.sum(axis=1) / total if total > 0.0 else law_kt.sum(axis=1))

    def state_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "left": self.left,
            "step": self._step,
            "losses": self._losses,
            "draws": self._draws,
            "mixtures": self._mixtures,
            "drops": self._drops,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "_Sweep":
        """What ``state_dict`` was taken of."""
        sweep = cls([int(k) for k in state["left"]])
        sweep._step = int(state["step"])
        sweep._losses, sweep._draws = list(state["losses"]), list(state["draws"])
        sweep._mixtures, sweep._drops = list(state["mixtures"]), list(state["drops"])
        return sweep


def _smoothed(domain: int, num_domains: int, smoothing: float) -> Float64[np.ndarray, " k"]:
    tried_k = np.full(num_domains, smoothing / num_domains)
    tried_k[domain] += 1.0 - smoothing
    return tried_k
