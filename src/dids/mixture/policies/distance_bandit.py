"""The policy ``distance-bandit``: a bandit switches the domain; near ones are tried first.

Axis letters: k domains, t tasks.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, get_args

import numpy as np
from jaxtyping import Float64

from dids.domains.regrouping import Regrouping
from dids.mixture.feature_distance import (
    Distance,
    domain_task_distances,
    mean_over_tasks,
    standardised,
)
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision

_FORGETTING = 0.9
"""What a step leaves of the mean and size of earlier rewards."""
_MOST = 3.0
"""A reward counts for at most so many times the usual size: one spike decides nothing."""


class DistanceBandit:
    """One domain at a time, chosen by an upper confidence bound of what it did for the tasks.

    ``a = argmax_k Q_k + exploration * sqrt(ln N / N_k)`` (Auer, Cesa-Bianchi & Fischer 2002,
    Machine Learning 47), or with ``chooser: thompson`` the largest of draws from ``Normal(Q_k, 1 /
    N_k)``. Q begins at minus the domain's distance to the tasks, in standard deviations over
    domains, as if it had been chosen once, and then follows rewards: ``Q_a ← Q_a + max(1 / N_a,
    rate) (r - Q_a)``, where r is the tasks' mean relative drop of validation loss while a was
    drawn, beyond what is usual and in units of its usual size. (After Guo, Pasunuru & Bansal 2020,
    "Multi-Source Domain Adaptation for Text Classification via DistanceNet-Bandits",
    arXiv:2001.04362.)

    Args:
        distance: Of features: ``cosine``, ``mmd``, ``coral``, ``fisher`` or ``mix``, their mean in
            standard deviations.
        exploration: How much an uncertain domain is preferred.
        chooser: ``ucb`` or ``thompson``.
        rate: How fast rewards of long ago are forgotten, above 0 to 1.
        share: What the chosen domain gets; the rest stays with the prior.
        every_steps: Optimizer steps between choices.
        seed: Of the draws of ``thompson``.

    Note:
        Carried over: sources became domains, the target's validation score the tasks' losses, and
        the distances decide where the bandit begins. Not carried over: the distance as a loss of
        its own, which shapes a classifier's features; here only data is chosen. The paper's
        constants and the scale of its rewards could not be had; those here are chosen. A choice
        lasts ``every_steps`` steps, as losses are measured for each.
    """

    needs_impact = False
    needs = Needs(every_steps=10, task_losses=True, features=True)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"share": 0.5},
        {"chooser": "thompson"},
    )

    def __init__(
        self,
        *,
        distance: str = "mix",
        exploration: float = 1.0,
        chooser: str = "ucb",
        rate: float = 0.1,
        share: float = 1.0,
        every_steps: float = 10,
        seed: float = 0,
    ) -> None:
        if distance not in get_args(Distance):
            raise ValueError(f"distance must be {', '.join(get_args(Distance))}")
        if chooser not in ("ucb", "thompson"):
            raise ValueError("chooser must be ucb or thompson")
        if not 0 < rate <= 1 or not 0 <= share <= 1:
            raise ValueError("rate must be above 0 and up to 1, share from 0 to 1")
        if exploration < 0 or every_steps < 1:
            raise ValueError("exploration must be 0 or more, every_steps 1 or more")
        self.distance: Any = distance
        self.exploration = exploration
        self.chooser = chooser
        self.rate = rate
        self.share = share
        self.seed = int(seed)
        self.needs = replace(self.needs, every_steps=int(every_steps))
        self._value_k: np.ndarray | None = None
        self._pulls_k: np.ndarray | None = None
        self._arm: int | None = None
        self._since = 0
        self._usual: tuple[float, float] | None = None
        """Mean of the rewards, and of their distance from it."""

    def mixture(self, observation: Observation) -> PolicyDecision:
        """Credit the domain that was drawn, choose the next."""
        if self._value_k is None or self._pulls_k is None:
            self._value_k = self._first_values(observation)
            self._pulls_k = np.ones(len(observation.sizes_k))
        drop = self._drop(observation)
        if drop is not None:
            self._credit(drop)
        arm = self._chosen(self._value_k, self._pulls_k)
        self._arm, self._since = arm, observation.tokens
        chosen_k = np.zeros(len(observation.sizes_k))
        chosen_k[arm] = 1.0
        mixture_k = (1.0 - self.share) * observation.prior + self.share * chosen_k
        return PolicyDecision(
            observation.limits.project(mixture_k),
            {"chosen": arm, "drop": drop, "value": self._value_k.tolist()},
        )

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains; one of new samples begins in the middle, chosen once."""
        if self._value_k is not None and self._pulls_k is not None:
            self._value_k = np.asarray(regrouping.origin_kj @ self._value_k)
            self._pulls_k = np.maximum(1.0, regrouping.origin_kj @ self._pulls_k)
        self._arm = None

    def state_dict(self) -> dict[str, Any]:
        """Values, choices so far, and what the next reward is reckoned from."""
        return {
            "value": None if self._value_k is None else self._value_k.tolist(),
            "pulls": None if self._pulls_k is None else self._pulls_k.tolist(),
            "arm": self._arm,
            "since": self._since,
            "usual": None if self._usual is None else list(self._usual),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        value, pulls, usual = state["value"], state["pulls"], state["usual"]
        self._value_k = None if value is None else np.array(value, dtype=np.float64)
        self._pulls_k = None if pulls is None else np.array(pulls, dtype=np.float64)
        self._arm = state["arm"]
        self._since = int(state["since"])
        self._usual = None if usual is None else (float(usual[0]), float(usual[1]))

    def _first_values(self, observation: Observation) -> Float64[np.ndarray, " k"]:
        if observation.features is None:
            return np.zeros(len(observation.sizes_k))
        distance_kt = domain_task_distances(observation.features, self.distance)
        return -standardised(mean_over_tasks(distance_kt, observation.task_weights))

    def _drop(self, observation: Observation) -> float | None:
        """The tasks' mean relative drop of loss since the choice before; None if not known."""
        history = observation.task_losses
        weight_t = observation.task_weights
        if len(weight_t) != len(history) or weight_t.sum() == 0:
            weight_t = np.ones(len(history))
        drops, weights = [], []
        for points, weight in zip(history.values(), weight_t, strict=True):
            before = [loss for tokens, loss in points if tokens <= self._since]
            if before and points[-1][0] > self._since:
                drops.append((before[-1] - points[-1][1]) / max(before[-1], 1e-12))
                weights.append(float(weight))
        if self._arm is None or not sum(weights) > 0:
            return None
        return float(np.average(drops, weights=weights))

    def _credit(self, drop: float) -> None:
        assert self._value_k is not None
        assert self._pulls_k is not None
        assert self._arm is not None
        if self._usual is None:
            reward, self._usual = 0.0, (drop, abs(drop))
        else:
            mean, size = self._usual
            size = _FORGETTING * size + (1.0 - _FORGETTING) * abs(drop - mean)
            reward = (drop - mean) / size if size > 0 else 0.0
            self._usual = (_FORGETTING * mean + (1.0 - _FORGETTING) * drop, size)
        self._pulls_k[self._arm] += 1.0
        step = max(1.0 / self._pulls_k[self._arm], self.rate)
        reward = min(max(reward, -_MOST), _MOST)
        self._value_k[self._arm] += step * (reward - self._value_k[self._arm])

    def _chosen(
        self, value_k: Float64[np.ndarray, " k"], pulls_k: Float64[np.ndarray, " k"]
    ) -> int:
        total = float(pulls_k.sum())
        if self.chooser == "ucb":
            bound_k = value_k + self.exploration * np.sqrt(math.log(total) / pulls_k)
        else:
            rng = np.random.default_rng([self.seed, round(total * 1000)])
            bound_k = value_k + self.exploration * rng.normal(size=len(value_k)) / np.sqrt(pulls_k)
        return int(bound_k.argmax())
