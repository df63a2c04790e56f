"""The policy ``strata``: domains in strata by their gap to prior and tasks, the nearest first.

Axis letters: k domains, t tasks.
"""

from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Integer

from dids.mixture.feature_distance import distances_to_mixture, distances_to_tasks
from dids.mixture.forgetful import Forgetful
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision, unmeasured


class Strata(Forgetful):
    """One stratum of domains after another, from small to large gap, beside the data as it lies.

    ``d = (1 + β²) d_S d_T / (β² d_S + d_T)`` is a domain's gap, where d_S is its cosine distance to
    the mean feature of the prior mixture and d_T that to the tasks. Domains are ordered by it and
    cut into strata of equally many samples; in the s-th part of the run ``p = (1 - share) prior +
    share * prior within stratum s``. (After Le, Nguyen, Tran & Ngo 2024, "Stratified Domain
    Adaptation", arXiv:2410.09913: the Harmonic Domain Gap Estimator; number of strata, β and the
    half of each batch that stays with the source as in the released code, KhaLee2307/StrDA.)

    Args:
        num_strata: Strata, and stages of the run; 5 as in the released code's example.
        beta: Below 1 the distance to the prior counts for more; 0.7 as there.
        share: What the stratum of the stage gets; the rest stays with the prior.

    Note:
        Carried over: samples became domains, the two discriminators' losses cosine distances of
        gradient features. Not carried over: pseudo-labels. The last stage trains on what is
        farthest from everything, as in the paper, where that is the target; junk is there, too.
    """

    needs = Needs(features=True)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"num_strata": 3},
        {"share": 0.25},
    )

    def __init__(self, *, num_strata: float = 5, beta: float = 0.7, share: float = 0.5) -> None:
        if num_strata < 1:
            raise ValueError("num_strata must be 1 or more")
        if beta <= 0:
            raise ValueError("beta must be above 0")
        if not 0 <= share <= 1:
            raise ValueError("share must be from 0 to 1")
        self.num_strata = int(num_strata)
        self.beta = beta
        self.share = share

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The stratum whose turn it is; the mixture of before where no features are known."""
        features, prior_k = observation.features, observation.prior
        if features is None:
            return unmeasured(observation, "no features are known")
        gap_k = harmonic_gaps(
            distances_to_mixture(features, prior_k),
            distances_to_tasks(features, observation.task_weights),
            self.beta,
        )
        stratum_k = strata_by_gap(gap_k, observation.sizes_k, self.num_strata)
        num_stages = int(stratum_k.max()) + 1
        stage = min(int(observation.progress * num_stages), num_stages - 1)
        inside_k = np.where(stratum_k == stage, prior_k, 0.0)
        if inside_k.sum() > 0:
            mixture_k = (1.0 - self.share) * prior_k + self.share * inside_k / inside_k.sum()
        else:  # a prior may leave out a whole stratum
            mixture_k = prior_k
        return PolicyDecision(
            observation.limits.project(mixture_k), {"stage": stage, "stratum": stratum_k.tolist()}
        )


def harmonic_gaps(
    source_k: Float64[np.ndarray, " k"], target_k: Float64[np.ndarray, " k"], beta: float
) -> Float64[np.ndarray, " k"]:
    """``(1 + β²) d_S d_T / (β² d_S + d_T)``; 0 where both are 0.

    Example:
        >>> harmonic_gaps(np.array([1.0, 0.0]), np.array([1.0, 2.0]), 1.0)
        array([1., 0.])
    """
    below_k = beta**2 * source_k + target_k
    gap_k = (1.0 + beta**2) * source_k * target_k / np.where(below_k == 0, 1.0, below_k)
    return np.asarray(gap_k)


def strata_by_gap(
    gap_k: Float64[np.ndarray, " k"], sizes_k: Integer[np.ndarray, " k"], num_strata: int
) -> Integer[np.ndarray, " k"]:
    """The stratum of every domain, from 0; each has about equally many samples, none is empty.

    Unknown gaps (NaN) count as the largest.

    Example:
        >>> strata_by_gap(np.array([3.0, 1.0, 2.0, np.nan]), np.array([5, 5, 5, 5]), 2)
        array([1, 0, 0, 1])
    """
    order_k = np.argsort(gap_k, kind="stable")  # NaN last
    size_k = sizes_k[order_k]
    middle_k = (np.cumsum(size_k) - size_k / 2) / size_k.sum()
    stratum_k = np.empty(len(gap_k), dtype=np.int64)
    stratum_k[order_k] = np.minimum((middle_k * num_strata).astype(np.int64), num_strata - 1)
    return np.asarray(np.unique(stratum_k, return_inverse=True)[1])
