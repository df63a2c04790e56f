"""One mixture for all ranks, and the same for any number of them.

The first rank asks the policy and tells the others. On another number of ranks sums are added up in
another order, which moves what is measured, and the mixture, by a ten-millionth or so. A mixture
that follows measurements is therefore rounded to ten significant bits: a thousandth of a share,
where measuring leaves some percent of doubt. Two that differ by a ten-millionth come out as one but
for about one domain in ten thousand.

Axis letters: k domains.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from dids.mixture.limits import MixtureLimits
from dids.mixture.needs import Needs, needs_of
from dids.mixture.policy import Observation, Policy, PolicyDecision
from dids.ranks import from_first_rank

_BITS = 10


def decided_mixture(policy: Policy, observation: Observation) -> PolicyDecision:
    """What a policy decides on the first rank, on every rank; every rank must ask.

    Raises:
        InputError: On every rank, if the policy raised one.
    """
    decision: PolicyDecision = from_first_rank(lambda: policy.mixture(observation))
    # Given weights, and those that trials have found, stay as they are.
    if not policy.needs_impact and needs_of(policy) == Needs():
        return decision
    return replace(decision, mixture=rounded(decision.mixture, observation.limits))


def rounded(
    mixture_k: Float64[np.ndarray, " k"], limits: MixtureLimits
) -> Float64[np.ndarray, " k"]:
    """A mixture to ten significant bits a domain, summing to one, within the limits.

    Example:
        >>> limits = MixtureLimits.with_floor(3, 0.0)
        >>> rounded(np.array([0.2, 0.3, 0.5]) + 1e-8, limits) == rounded(
        ...     np.array([0.2, 0.3, 0.5]), limits)
        array([ True,  True,  True])
    """
    mantissa_k, exponent_k = np.frexp(mixture_k)
    shares_k = np.ldexp(np.rint(np.ldexp(mantissa_k, _BITS)), exponent_k - _BITS)
    return limits.project(shares_k / shares_k.sum())
