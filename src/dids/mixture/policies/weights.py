"""The policy ``weights``: the user's own, from beginning to end.

Axis letters: k domains.
"""

from typing import Any, ClassVar

from dids.mixture.forgetful import Forgetful
from dids.mixture.named_weights import checked_weights, weighted_mixture
from dids.mixture.observation import Observation, PolicyDecision


class Weights(Forgetful):
    """The weights that a user gives, by names and patterns of domains.

    ``weights: {web: 0.5, "code/*": 0.3, "*": 0.2}``: a pattern's weight is that of all its domains
    together, which share it by their numbers of samples. A domain that several fit belongs to its
    own name, else to the longest pattern. Weights are scaled to sum to 1; a domain that none fits
    gets what the floors give it.

    Args:
        weights: A mapping from names or patterns to numbers. None: the prior of the config.
    """

    searched: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def __init__(self, *, weights: Any = None) -> None:  # noqa: ANN401
        self.weights = None if weights is None else checked_weights(weights, "weights")

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The same in every round, moved into the limits if it breaks them.

        Raises:
            InputError: If a name or pattern fits no domain.
        """
        if self.weights is None:
            return PolicyDecision(observation.limits.project(observation.prior))
        names, field = observation.domain_names, "mixture.settings.weights"
        share_k = weighted_mixture(self.weights, names, observation.sizes_k, field)
        return PolicyDecision(observation.limits.project(share_k))
