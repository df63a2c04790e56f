"""The policy ``skill-it``: a graph of what domains do for tasks, learnt by trials before the run.

Axis letters: k domains, t tasks.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64

from dids.domains.regrouping import Regrouping
from dids.mixture.found_mixture import FoundMixture
from dids.mixture.multiplicative_weights import tilted
from dids.mixture.observation import Observation, PolicyDecision
from dids.mixture.search import Trial, Trials
from dids.mixture.setting_ranges import check_positive


class SkillIt:
    """``p_k = prior_k exp(speed * sum over the last looks and t of A_kt L_t)``.

    ``A_kt`` is how far a short trial on domain k alone lowered task t's loss, as a fraction of it,
    and 0 where it did not; ``L_t`` are validation losses. Before there are any, ``p_k = prior_k
    exp(speed * sum_t A_kt)``. (Chen et al. 2023, arXiv:2307.14430: algorithm 1, equations 2 and 4;
    the graph as described in section 3.2 as its linear approximation.)

    Args:
        speed: The paper's eta. Its experiments use 0.1 to 0.8 (appendix C.3), but for one of a
            single round.
        window: Looks at the losses that are added up, the newest last.
        budget: Tokens of all trials together, as a fraction of the run's.
        relative: Whether a trial's drop is taken as a fraction of the loss it began with.

    Note:
        The paper's dynamics (equation 2) make A a fraction, and so do the authors in their later
        comparison (the released code of arXiv:2411.05735, ``skills_graph``); the paper's own graphs
        are in nats (appendix C.2), which ``relative`` false takes. Trials keep the run's floors, so
        that a domain is never quite alone. Skills of the evaluation are tasks, with the user's
        weights. The newest losses are those of the model that goes on, where algorithm 1 takes the
        model of one round before.
    """

    needs_impact = False
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"speed": 0.5},
        {"speed": 0.1, "window": 1},
    )

    def __init__(
        self,
        *,
        speed: float = 0.2,
        window: int | float = 3,
        budget: float = 1.0,
        relative: bool | float = True,
    ) -> None:
        check_positive(speed=speed, budget=budget)
        if not window >= 1 or window != int(window):
            raise ValueError(f"window must be a number of looks, but it is {window}.")
        self.speed = speed
        self.window = int(window)
        self.budget = budget
        self.relative = bool(relative)
        self._graph_kt: np.ndarray | None = None
        self._task_names: tuple[str, ...] = ()

    def search(self, trials: Trials) -> None:
        """Train a proxy on each domain alone, and see what it does for the tasks."""
        num_domains = len(trials.domain_names)
        self._task_names = trials.task_names
        self._graph_kt = np.zeros((num_domains, len(trials.task_names)))
        for domain, alone_k in enumerate(np.eye(num_domains)):
            trial = trials.run(
                f"alone-{domain}",
                FoundMixture(alone_k),
                model="proxy",
                budget=self.budget / num_domains,
                rounds=1,
            )
            self._graph_kt[domain] = self._drops(trial)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins; the prior where no graph was learnt."""
        if self._graph_kt is None:
            note = {"note": "no search has learnt the graph: the prior holds"}
            return PolicyDecision(observation.limits.project(observation.prior), note)
        loss_t = self._summed_losses(observation.task_losses)
        weight_t = self._weights(observation)
        wanted_k = tilted(observation.prior, self.speed * (self._graph_kt @ (weight_t * loss_t)))
        graph = {
            task: drop_k.tolist()
            for task, drop_k in zip(self._task_names, self._graph_kt.T, strict=True)
        }
        return PolicyDecision(observation.limits.project(wanted_k), {"graph": graph})

    def regroup(self, regrouping: Regrouping) -> None:
        """A part does what its whole did; a domain of new samples nothing yet."""
        if self._graph_kt is not None:
            self._graph_kt = np.asarray(regrouping.origin_kj @ self._graph_kt)

    def state_dict(self) -> dict[str, Any]:
        """The graph."""
        graph = None if self._graph_kt is None else self._graph_kt.tolist()
        return {"graph": graph, "tasks": list(self._task_names)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        graph = state["graph"]
        self._graph_kt = None if graph is None else np.array(graph, dtype=np.float64)
        self._task_names = tuple(state["tasks"])

    def _drops(self, trial: Trial) -> Float64[np.ndarray, " t"]:
        before_t = np.array([trial.task_losses[task][0][1] for task in self._task_names])
        drop_t: np.ndarray = np.maximum(before_t - trial.final_losses(self._task_names), 0.0)
        if not self.relative:
            return drop_t
        share_t: np.ndarray = np.zeros_like(drop_t)
        np.divide(drop_t, before_t, out=share_t, where=before_t > 0)
        return share_t

    def _summed_losses(
        self, task_losses: Mapping[str, Sequence[tuple[int, float]]]
    ) -> Float64[np.ndarray, " t"]:
        """Of the window; all 1 before the first look, as in the paper's first round."""
        looks = [task_losses.get(task, ())[-self.window :] for task in self._task_names]
        if not any(looks):
            return np.ones(len(looks))
        return np.array([sum(loss for _, loss in seen) for seen in looks])

    def _weights(self, observation: Observation) -> Float64[np.ndarray, " t"]:
        """The user's, 1 on average; of the tasks of the graph, which the run has."""
        weight_t = observation.task_weights
        if len(weight_t) != len(self._task_names) or not weight_t.any():
            return np.ones(len(self._task_names))
        return np.asarray(weight_t / weight_t.mean())
