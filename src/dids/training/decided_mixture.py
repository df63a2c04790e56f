"""One mixture for all ranks: the first asks the policy and tells the others."""

from dids.mixture.policy import Observation, Policy, PolicyDecision
from dids.ranks import from_first_rank


def decided_mixture(policy: Policy, observation: Observation) -> PolicyDecision:
    """What a policy decides on the first rank, on every rank; every rank must ask.

    Raises:
        InputError: On every rank, if the policy raised one.
    """
    decision: PolicyDecision = from_first_rank(lambda: policy.mixture(observation))
    return decision
