"""A mixture of one seed's domains in the domains of another seed, which has clusters of its own.

Both group the same samples, so a mixture is carried over sample by sample: every sample keeps the
probability that it had.
"""

from collections.abc import Mapping

import numpy as np

from dids.domains.domains import Domains
from dids.domains.regrouping import Regrouping


def carried_over(
    probability: Mapping[str, float], before: Domains, now: Domains
) -> dict[str, float]:
    """The mixture of other domains that draws every sample as often.

    Args:
        probability: By name of the domains of before.
        before: The domains that it is of.
        now: The domains that it shall be of; of the same samples.

    Returns:
        By name of the domains of now, in their order.
    """
    ones_n = np.ones(len(now.domain_of_sample), dtype=np.int64)
    regrouping = Regrouping.between(
        before.domain_of_sample, now.domain_of_sample, ones_n, before.names, now.names
    )
    mixture_k = regrouping.passed_kj @ np.array([probability[name] for name in before.names])
    return dict(zip(now.names, mixture_k.tolist(), strict=True))
