"""The policy ``commute``: inside a round, domains that should come first do.

Axis letters: k domains, i and j two of them, b blocks of a round.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64

from dids.domains.regrouping import Regrouping
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision


class Commute:
    """The prior over a round as a whole; within it, domains earlier or later by their Lie brackets.

    ``p_i(u) = prior_i (1 - strength * u * s_i / max |s|)``, where u goes from -1 to 1 over the
    blocks of a round and ``s_i = sum_j prior_j b_ij`` says how much sooner than all others domain i
    should come; ``b`` are the brackets, averaged over rounds. As b is antisymmetric, ``sum_i
    prior_i s_i = 0``: every block sums to 1 without scaling, and the mean over a round's blocks is
    the prior. (Rukhovich, Podolskiy & Piontkovskaya 2025, "Commute Your Domains",
    arXiv:2501.15556: where the bracket of two domains' gradient fields, projected on the target's
    gradient, is not zero, moving one of them ahead in the schedule of weights lowers the target's
    loss. The sum over a domain's brackets is the score by which Sweeney 2026, arXiv:2606.24993,
    orders more than two.)

    Args:
        strength: 1: the domain that should come first most has twice its share at first, and none
            in the end.
        every_steps: Length of a block in optimizer steps. A round of one block has no order.
        memory: How slowly brackets of earlier rounds are forgotten, from 0 to below 1.

    Note:
        The paper gives a criterion for two domains and no algorithm for many; a schedule whose mean
        is the given mixture is chosen here, so that the order alone is what it changes. The
        explanation holds the matrix once a round.
    """

    needs_impact = False
    needs = Needs(brackets=True, every_steps=4)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"strength": 0.5},
        {"every_steps": 8},
    )

    def __init__(
        self, *, strength: float = 1.0, every_steps: float = 4, memory: float = 0.5
    ) -> None:
        if not 0 <= strength <= 1:
            raise ValueError("strength must be from 0 to 1")
        if every_steps < 1:
            raise ValueError("every_steps must be 1 or more")
        if not 0 <= memory < 1:
            raise ValueError("memory must be from 0 to below 1")
        self.strength = strength
        self.memory = memory
        self.needs = replace(self.needs, every_steps=int(every_steps))
        self._bracket_kk: np.ndarray | None = None
        self._round = -1
        self._began = 0
        self._length = 1.0

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The next block; the prior before brackets are known."""
        if observation.round != self._round:
            self._round, self._began = observation.round, observation.step
            self._length = _steps_of_round(observation)
        explanation: dict[str, Any] = {}
        if observation.brackets_kk is not None:
            self._remember(observation.brackets_kk)
            assert self._bracket_kk is not None
            explanation["brackets"] = self._bracket_kk.tolist()
        if self._bracket_kk is None:
            return PolicyDecision(
                observation.limits.project(observation.prior),
                {"note": "no brackets are known yet: the prior holds"},
            )
        precedence_k = precedence(self._bracket_kk, observation.prior)
        place = self._place(observation.step)
        explanation |= {"precedence": precedence_k.tolist(), "place": place}
        ordered_k = observation.prior * (1.0 - self.strength * place * precedence_k)
        return PolicyDecision(observation.limits.project(ordered_k), explanation)

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains; one of new samples has no place in the order."""
        if self._bracket_kk is not None:
            origin_kj = regrouping.origin_kj
            self._bracket_kk = np.asarray(origin_kj @ self._bracket_kk @ origin_kj.T)

    def state_dict(self) -> dict[str, Any]:
        """The brackets so far, and where in its round the run is."""
        return {
            "brackets": None if self._bracket_kk is None else self._bracket_kk.tolist(),
            "round": self._round,
            "began": self._began,
            "length": self._length,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        brackets = state["brackets"]
        self._bracket_kk = None if brackets is None else np.array(brackets, dtype=np.float64)
        self._round, self._began = int(state["round"]), int(state["began"])
        self._length = float(state["length"])

    def _remember(self, bracket_kk: Float64[np.ndarray, "k k"]) -> None:
        if self._bracket_kk is None:
            self._bracket_kk = bracket_kk
        else:
            self._bracket_kk = self.memory * self._bracket_kk + (1.0 - self.memory) * bracket_kk

    def _place(self, step: int) -> float:
        """Where the middle of the block that begins lies in its round, from -1 to 1."""
        every = self.needs.every_steps or 1
        done = step - self._began
        left = max(0.0, self._length - done)
        span = min(float(every - step % every), left)  # blocks end at multiples of their length
        return float(np.clip(2.0 * (done + span / 2.0) / self._length - 1.0, -1.0, 1.0))


def precedence(
    bracket_kk: Float64[np.ndarray, "k k"], mixture_k: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """How much sooner than all others each domain should come, the largest being 1 or -1.

    Example:
        >>> precedence(np.array([[0.0, 2.0], [-2.0, 0.0]]), np.array([0.5, 0.5]))
        array([ 1., -1.])
    """
    score_k = bracket_kk @ mixture_k
    largest = float(np.abs(score_k).max())
    return np.asarray(score_k / largest) if largest > 0 else np.zeros_like(score_k)


def _steps_of_round(observation: Observation) -> float:
    """Expected optimizer steps of the round that begins."""
    if observation.progress <= 0 or observation.tokens <= 0:
        return float(observation.num_steps)
    whole_tokens = observation.tokens / observation.progress
    return observation.num_steps * observation.horizon_tokens / whole_tokens
