"""A policy of trials: a reference, then a run that is compared with it; its mixture is kept."""

from typing import Any

import numpy as np

from dids.mixture.policy import Needs, Observation, PolicyDecision, Trials


class Excess:
    """Domains by the square of what their losses are above the reference's."""

    needs_impact = False
    needs = Needs(reference=True, training_losses=True, every_steps=2)

    def mixture(self, observation: Observation) -> PolicyDecision:
        seen = observation.trained
        if seen is None:
            return PolicyDecision(observation.limits.project(observation.previous))
        excess_k = np.nan_to_num(seen.excess_k) ** 2 + 0.1
        return PolicyDecision(observation.limits.project(excess_k / excess_k.sum()))

    def regroup(self, regrouping: Any) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Searching:
    """The mean mixture of a trial."""

    needs_impact = False

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def search(self, trials: Trials) -> None:
        from dids.mixture.policy import make_policy

        reference = trials.run("reference", make_policy("uniform"), budget=0.5, rounds=2)
        trial = trials.run("excess", Excess(), model="model", budget=0.25, reference=reference)
        self.found = {
            "mixture": trial.mean_mixture_k.tolist(),
            "domains": list(trials.domain_names),
            "losses": trial.final_losses(trials.task_names).tolist(),
            "tokens": [reference.tokens, trial.tokens],
        }

    def mixture(self, observation: Observation) -> PolicyDecision:
        mixture_k = observation.limits.project(np.array(self.found["mixture"]))
        return PolicyDecision(mixture_k, {"training_flops": observation.training_flops})

    def regroup(self, regrouping: Any) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return self.found

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.found = dict(state)
