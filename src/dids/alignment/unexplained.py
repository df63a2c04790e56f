"""What of a task is like nothing the sources have: the rest of non-negative least squares.

A sample's gradient is mostly its own, so even a source's own held-out samples leave much over. What
is told is how much less of a task's samples is explained than of those: 0 for a task like the
sources, 1 where nothing is explained.

Axes: m rows, k prototypes, s sources, d feature dimensions.
"""

from dataclasses import dataclass

import numpy as np
import scipy.optimize
from jaxtyping import Float, Float64

from dids.alignment.projection import Projection


@dataclass(frozen=True)
class TaskAccount:
    """How far sources explain a task."""

    unexplained: dict[str, float]
    """By level (``sample``, ``domain``, ``corpus``): share of what sources' own samples have
    explained that is missing here, from 0 to 1."""
    by_source: dict[str, float]
    """Share of each source in the combination at the level of domains; they sum to 1, or are all 0
    where nothing is explained."""

    def sentence(self, task: str) -> str:
        """In words.

        Example:
            >>> account = TaskAccount({"domain": 0.38}, {"web": 0.7, "code": 0.3})
            >>> account.sentence("maths")
            'maths: 38 % of this task is like nothing you have; the rest is most like web (70 %).'
        """
        share = round(100 * self.unexplained["domain"])
        nearest = max(self.by_source, key=lambda name: self.by_source[name])
        if self.by_source[nearest] == 0:
            return f"{task}: nothing you have is like this task."
        return (
            f"{task}: {share} % of this task is like nothing you have; the rest is most like "
            f"{nearest} ({self.by_source[nearest]:.0%})."
        ).replace("%)", " %)")


def task_account(
    projection: Projection, feature_md: Float[np.ndarray, "m d"], source_names: list[str]
) -> TaskAccount:
    """Explain a task's samples by combinations of prototypes.

    Args:
        projection: The prototypes.
        feature_md: The task's samples, aligned as those were that the projection was fitted on.
        source_names: Names of the sources by number.
    """
    levels = {
        "sample": projection.sample_pd,
        "domain": projection.prototype_kd,
        "corpus": projection.source_mean_sd,
    }
    unexplained = {}
    weight_mk = np.zeros((0, 0))
    for level, vector_kd in levels.items():
        weights, rest_m = combinations(vector_kd, feature_md)
        own = combinations(vector_kd, projection.held_out_hd)[1]
        explained_of_own = 1 - float(own.mean()) if len(own) else 1.0
        explained = 1 - float(rest_m.mean()) if len(rest_m) else 0.0
        ratio = explained / explained_of_own if explained_of_own > 0 else 0.0
        unexplained[level] = min(max(1 - ratio, 0.0), 1.0)
        if level == "domain":
            weight_mk = weights
    length_k = np.linalg.norm(projection.prototype_kd, axis=1)
    share_k = weight_mk.sum(0) * length_k
    total = float(share_k.sum())
    by_source = {
        name: float(share_k[projection.prototype_source_k == number].sum()) / (total or 1.0)
        for number, name in enumerate(source_names)
    }
    return TaskAccount(unexplained, by_source)


def combinations(
    vector_kd: Float[np.ndarray, "k d"], feature_md: Float[np.ndarray, "m d"]
) -> tuple[Float64[np.ndarray, "m k"], Float64[np.ndarray, " m"]]:
    """Non-negative combinations of vectors that come nearest to rows.

    Args:
        vector_kd: The vectors.
        feature_md: The rows.

    Returns:
        Weights, and the share of each row's squared length that is left over.

    Example:
        >>> _, rest = combinations(np.array([[1.0, 0.0]]), np.array([[3.0, 4.0], [-1.0, 0.0]]))
        >>> rest.round(2).tolist()
        [0.64, 1.0]
    """
    # Rotated into the vectors' own span, where a row's equations are as few as the vectors.
    basis_dk, triangle_kk = np.linalg.qr(vector_kd.astype(np.float64).T)
    inside_mk = feature_md.astype(np.float64) @ basis_dk
    length_m = np.square(feature_md.astype(np.float64)).sum(1)
    weight_mk = np.zeros((len(feature_md), len(vector_kd)))
    rest_m = np.ones(len(feature_md))
    for row, (inside_k, length) in enumerate(zip(inside_mk, length_m, strict=True)):
        if length > 0:
            weight_mk[row], missed = scipy.optimize.nnls(triangle_kk, inside_k)
            outside = length - float(np.square(inside_k).sum())
            rest_m[row] = (max(outside, 0.0) + missed**2) / length
    return weight_mk, rest_m
