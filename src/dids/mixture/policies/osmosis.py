"""The policy ``osmosis``: a gradual passage from where the data is to where the tasks are.

Axis letters: k domains, t tasks.
"""

from typing import ClassVar

from dids.mixture.feature_distance import (
    distances_to_mixture,
    distances_to_tasks,
    standardised,
)
from dids.mixture.forgetful import Forgetful
from dids.mixture.multiplicative_weights import tilted
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision, unmeasured


class Osmosis(Forgetful):
    """Domains near the prior's mean feature first, those near the tasks' in the end.

    ``p = (1 - λ) p_source + λ p_target`` with ``p_source ∝ prior * exp(-z(d_source) / T)``,
    ``p_target ∝ prior * exp(-z(d_target) / T)``: d_source is a domain's cosine distance to the mean
    feature of the prior mixture, d_target that to the tasks, z brings distances to mean 0 and
    deviation 1, and ``λ`` goes from 0 to 1 with the run. (After Wang & Huang 2025, "Gradual Domain
    Osmosis", arXiv:2501.19159, where the loss is ``(1 - λ) L_source + λ L_target`` and λ grows from
    0 to 1 through the intermediate domains, as its abstract says.)

    Args:
        temperature: Low: each end of the passage is at few domains.
        pace: ``λ = progress ** pace``; above 1 the passage begins late.

    Note:
        Carried over: two losses in changing weights are a mixture of two sets of samples in
        changing shares. Source and target are here the data as it lies and the tasks; the domains
        between them are the intermediate ones. Not carried over: the self-training on pseudo-
        labels, as text labels itself. Temperature and the measure of distance are chosen here.
    """

    needs = Needs(features=True)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"temperature": 0.25},
        {"temperature": 1.0},
    )

    def __init__(self, *, temperature: float = 0.5, pace: float = 1.0) -> None:
        if temperature <= 0 or pace <= 0:
            raise ValueError("temperature and pace must be above 0")
        self.temperature = temperature
        self.pace = pace

    def mixture(self, observation: Observation) -> PolicyDecision:
        """Where the passage is now; the mixture of before where no features are known."""
        features, prior_k = observation.features, observation.prior
        if features is None:
            return unmeasured(observation, "no features are known")
        source_k = distances_to_mixture(features, prior_k)
        target_k = distances_to_tasks(features, observation.task_weights)
        passed = observation.progress**self.pace
        start_k = tilted(prior_k, -standardised(source_k) / self.temperature)
        end_k = tilted(prior_k, -standardised(target_k) / self.temperature)
        return PolicyDecision(
            observation.limits.project((1.0 - passed) * start_k + passed * end_k),
            {"passed": passed, "source": start_k.tolist(), "target": end_k.tolist()},
        )
