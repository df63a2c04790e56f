"""The policy ``anchors``: domains by their nearness to several anchors of every task.

Axis letters: n samples, a anchors, k domains, t tasks, d feature dimensions.
"""

from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float64

from dids.domains.spherical_kmeans import spherical_centroids
from dids.mixture.feature_distance import standardised
from dids.mixture.forgetful import Forgetful
from dids.mixture.multiplicative_weights import tilted
from dids.mixture.needs import Needs
from dids.mixture.observation import (
    FeatureSamples,
    Observation,
    PolicyDecision,
    unmeasured,
)


class Anchors(Forgetful):
    """Every anchor of every task draws from the domains near to it; some goes to what is rare.

    ``p = (1 - novel) sum_t w_t sum_a m_ta q_a + novel * q_far``. Anchors are the centres of a
    spherical k-means of features, several for each task and each domain; ``q_a ∝ prior * exp(z_k
    (largest cosine of an anchor of domain k to a) / T)``, z over domains; an anchor's part ``m_ta``
    is proportional to ``(samples near it) ** tail``, so that a task's rare kinds are not lost in
    its mean; ``q_far ∝ prior * exp(z_k(dist) / T)``, where dist is the mean over a domain's samples
    of the distance to the nearest anchor of all domains together plus that to the nearest anchor of
    the tasks. (After Ning et al. 2023, "MADAv2: Advanced Multi-Anchor Based Active Domain
    Adaptation Segmentation", arXiv:2301.07354; ten anchors, the sum of both distances and the 5 %
    that it chooses as in the released code, munanning/MADAv2.)

    Args:
        num_anchors: For each task and domain at most; fewer where samples are.
        temperature: Low: an anchor draws from its nearest domain alone.
        tail: From 0, all anchors of a task alike, to 1, by their samples.
        novel: What domains far from all anchors get, from 0 to 1.

    Note:
        Carried over: the paper chooses samples within a domain for annotation; here domains are
        what samples are chosen by, and where they are many small clusters of each source this
        chooses within the sources. Sizes of domains do not count, so that small clusters keep
        their place (limits and ``max_repeats`` bound their repetition). Not carried over: pseudo-
        labels and the alignment loss. Temperature and tail are chosen here. As features are those
        of the proxy, the mixture stays the same until domains are regrouped.
    """

    needs = Needs(features=True)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"temperature": 0.25},
        {"num_anchors": 3},
    )

    def __init__(
        self,
        *,
        num_anchors: float = 10,
        temperature: float = 0.5,
        tail: float = 0.5,
        novel: float = 0.05,
    ) -> None:
        if num_anchors < 1:
            raise ValueError("num_anchors must be 1 or more")
        if temperature <= 0:
            raise ValueError("temperature must be above 0")
        if not 0 <= tail <= 1 or not 0 <= novel <= 1:
            raise ValueError("tail and novel must be from 0 to 1")
        self.num_anchors = int(num_anchors)
        self.temperature = temperature
        self.tail = tail
        self.novel = novel
        self._seen: tuple[FeatureSamples, np.ndarray, np.ndarray, np.ndarray] | None = None

    def mixture(self, observation: Observation) -> PolicyDecision:
        """From the features; the mixture of before where none are known."""
        features, prior_k = observation.features, observation.prior
        if features is None or not any(len(rows) for rows in features.tasks):
            return unmeasured(observation, "no features are known")
        nearness_ka, part_ta, farness_k = self._compared(features)
        is_known_t = np.asarray(part_ta.any(axis=1), dtype=np.float64)
        weight_t = is_known_t * observation.task_weights
        if weight_t.sum() <= 0:
            weight_t = is_known_t
        part_a = (weight_t / weight_t.sum()) @ part_ta
        near_k = np.zeros(len(prior_k))
        for part, nearness_k in zip(part_a, nearness_ka.T, strict=True):
            near_k += part * tilted(prior_k, nearness_k / self.temperature)
        far_k = tilted(prior_k, farness_k / self.temperature)
        return PolicyDecision(
            observation.limits.project((1.0 - self.novel) * near_k + self.novel * far_k),
            {"near": near_k.tolist(), "far": far_k.tolist()},
        )

    def _compared(
        self, features: FeatureSamples
    ) -> tuple[Float64[np.ndarray, "k a"], Float64[np.ndarray, "t a"], Float64[np.ndarray, " k"]]:
        """Nearness of domains to the tasks' anchors, the anchors' parts, farness; kept."""
        if self._seen is not None and self._seen[0] is features:
            return self._seen[1:]
        task_anchors = [self._anchors(rows) for rows in features.tasks]
        anchor_ad = np.concatenate(task_anchors)
        nearness_ka = np.stack(
            [_nearness(self._anchors(rows), anchor_ad) for rows in features.domains]
        )
        nearness_ka = np.stack([standardised(nearness_k) for nearness_k in nearness_ka.T], axis=1)
        everything_ad = self._anchors(np.concatenate(features.domains))
        farness_k = standardised(
            np.array([_farness(rows, everything_ad, anchor_ad) for rows in features.domains])
        )
        part_ta = _parts(features, task_anchors, self.tail)
        self._seen = (features, nearness_ka, part_ta, farness_k)
        return nearness_ka, part_ta, farness_k

    def _anchors(self, rows_nd: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "a d"]:
        """Centres of some samples; none where there are none."""
        if len(rows_nd) == 0:
            return rows_nd
        return spherical_centroids(rows_nd.astype(np.float32), self.num_anchors, seed=0)


def _nearness(
    own_ad: Float[np.ndarray, "a d"], anchor_bd: Float[np.ndarray, "b d"]
) -> Float64[np.ndarray, " b"]:
    """Largest cosine of a domain's anchors to each of others; NaN where it has none."""
    if len(own_ad) == 0:
        return np.full(len(anchor_bd), np.nan)
    return np.asarray((own_ad @ anchor_bd.T).max(axis=0), dtype=np.float64)


def _farness(
    rows_nd: Float[np.ndarray, "n d"],
    everything_ad: Float[np.ndarray, "a d"],
    task_bd: Float[np.ndarray, "b d"],
) -> float:
    """Mean distance to the nearest anchor of all domains plus that to the nearest of the tasks."""
    if len(rows_nd) == 0:
        return float("nan")
    nearest_n = (rows_nd @ everything_ad.T).max(axis=1) + (rows_nd @ task_bd.T).max(axis=1)
    return float((2.0 - nearest_n).mean())


def _parts(
    features: FeatureSamples, task_anchors: list[Float[np.ndarray, "_ d"]], tail: float
) -> Float64[np.ndarray, "t a"]:
    """Part of each anchor in its task, by the samples nearest to it; rows sum to 1, or to 0."""
    blocks = []
    for rows_nd, anchor_ad in zip(features.tasks, task_anchors, strict=True):
        if len(rows_nd) == 0:
            blocks.append(np.zeros(0))
            continue
        nearest_n = (rows_nd @ anchor_ad.T).argmax(axis=1)
        count_a = np.bincount(nearest_n, minlength=len(anchor_ad)).astype(np.float64)
        weight_a = np.where(count_a > 0, count_a**tail, 0.0)
        blocks.append(weight_a / weight_a.sum())
    part_ta = np.zeros((len(blocks), sum(map(len, blocks))))
    start = 0
    for task, block in enumerate(blocks):
        part_ta[task, start : start + len(block)] = block
        start += len(block)
    return part_ta
