"""Style: each source's mean and covariance are made those of all, so that what differs is content.

After Li, Chao, An: *Style Adaptation for Domain-adaptive Semantic Segmentation*, 2024
(arXiv:2404.16301), where channel means and deviations of a network's shallow features take the
values of the target domain's (adaptive instance normalisation). Carried over: first and second
moments of features are matched, without any trained parameter. Not carried over: the
styles of single images, adaptation of pixels (Fourier amplitudes, random shifts of colours), the
choice of shallow layers (`features.layers` chooses layers here), and self-training.

A source's mean is also its content where it has a content of its own; then matching means takes
that away. It helps where sources hold the same contents in different costumes.

Axes: n samples of sources, t samples of tasks, m rows, s groups (sources, then the tasks), d
feature dimensions, r and q principal directions.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg
from jaxtyping import Float, Float64, Integer

from dids.alignment.principal import principal_directions
from dids.alignment.transform import TASKS, canonical_order

MAX_DIRECTIONS = 64
"""Principal directions whose covariance is matched whole; along all others one deviation is. A
group's covariance of 1,024 dimensions could not be told from its few hundred samples."""
_FLOOR = 1e-6
"""Smallest eigenvalue of a covariance, as a fraction of the largest."""


@dataclass(frozen=True, eq=False)
class Style:
    """An affine map a group: ``mean + map (x − own mean)``.

    The map is the one of least movement between Gaussians (the optimal transport map) in the
    principal directions, one factor along all others.
    """

    mean_d: Float[np.ndarray, " d"]
    direction_dr: Float[np.ndarray, "d r"]
    """Orthonormal principal directions of the common covariance."""
    group_s: Integer[np.ndarray, " s"]
    own_mean_sd: Float[np.ndarray, "s d"]
    map_srq: Float[np.ndarray, "s r r"]
    rest_s: Float[np.ndarray, " s"]
    """Factor outside the principal directions."""

    @classmethod
    def fit(
        cls,
        feature_nd: Float[np.ndarray, "n d"],
        source_n: Integer[np.ndarray, " n"],
        task_feature_td: Float[np.ndarray, "t d"] | None = None,
        *,
        seed: int = 0,
        to: Literal["common", "tasks"] = "common",
        covariance: Literal["whole", "diagonal"] = "whole",
        shrinkage: float = 1.0,
    ) -> "Style":
        """Moments of every source, and of the tasks as one group, and the maps between.

        Args:
            feature_nd: As of `Alignment.fit`.
            source_n: As there.
            task_feature_td: As there.
            seed: Nothing here is random.
            to: Statistics to match: those of all sources together, each covariance weighted by its
                samples and scaled to the same trace first; or the tasks', who then stay as
                they are.
            covariance: What is matched in the principal directions: their ``whole`` covariance, or
                only its ``diagonal``.
            shrinkage: Pseudo-samples a dimension with the common covariance's shape (and the
                group's own scale), so that a group of few samples keeps that shape. 0: none.

        Raises:
            ValueError: If the tasks' statistics are asked for and there are no tasks.
        """
        if to == "tasks" and (task_feature_td is None or len(task_feature_td) < 2):
            raise ValueError("matching the tasks needs features of two of their samples or more.")
        order_n = canonical_order(feature_nd, source_n)
        feature_nd, source_n = feature_nd[order_n].astype(np.float64), source_n[order_n]
        parts = {int(source): feature_nd[source_n == source] for source in np.unique(source_n)}
        if task_feature_td is not None and len(task_feature_td) > 0:
            same_t = np.full(len(task_feature_td), TASKS)
            order_t = canonical_order(task_feature_td, same_t)
            parts[TASKS] = task_feature_td[order_t].astype(np.float64)
        common = [TASKS] if to == "tasks" else [name for name in parts if name != TASKS]
        mean_d, centred_md, scale = _common([parts[name] for name in common])
        direction_dr = principal_directions(centred_md, MAX_DIRECTIONS)
        target = _moments(centred_md, direction_dr, scale)
        maps, rests = [], []
        for rows_md in parts.values():
            own = _moments(rows_md - rows_md.mean(0), direction_dr, 1.0)
            map_rq, rest = _map(own, target, covariance, shrinkage * direction_dr.shape[1])
            maps.append(map_rq)
            rests.append(rest)
        own_mean_sd = np.stack([rows_md.mean(0) for rows_md in parts.values()])
        return cls(
            mean_d.astype(np.float32),
            direction_dr.astype(np.float32),
            np.array(list(parts), dtype=np.int64),
            own_mean_sd.astype(np.float32),
            np.stack(maps).astype(np.float32),
            np.array(rests, dtype=np.float32),
        )

    def aligned(
        self, feature_md: Float[np.ndarray, "m d"], source_m: Integer[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m d"]:
        """Rows with their group's map; those of a group that was not fitted stay as they are."""
        aligned_md = np.array(feature_md, dtype=np.float32)
        for group, own_mean_d, map_rq, rest in zip(
            self.group_s, self.own_mean_sd, self.map_srq, self.rest_s, strict=True
        ):
            is_here_m = source_m == group
            centred_md = aligned_md[is_here_m] - own_mean_d
            inside_mr = centred_md @ self.direction_dr
            moved_mr = inside_mr @ map_rq.T - rest * inside_mr
            aligned_md[is_here_m] = self.mean_d + rest * centred_md + moved_mr @ self.direction_dr.T
        return aligned_md


@dataclass(frozen=True, eq=False)
class _Moments:
    num_samples: int
    covariance_rq: Float64[np.ndarray, "r r"]
    rest: float
    """Variance outside the principal directions, summed."""

    @property
    def trace(self) -> float:
        return float(np.trace(self.covariance_rq)) + self.rest


def _common(
    parts: list[Float64[np.ndarray, "_ d"]],
) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, "m d"], float]:
    """Mean, rows about their own group's mean and of the same variance, and their scale.

    The scale is the geometric mean of the groups' variances: an enlarged group enlarges what all
    become, and does not decide its shape.
    """
    size_s = np.array([len(part) for part in parts])
    mean_d = np.concatenate(parts).mean(0)
    centred = [part - part.mean(0) for part in parts]
    variance_s = np.array([np.square(part).sum() / len(part) for part in centred])
    has_spread_s = variance_s > 0
    if not has_spread_s.any():
        return mean_d, np.concatenate(centred), 0.0
    weight_s = size_s * has_spread_s / size_s[has_spread_s].sum()
    logarithm_s = np.log(np.where(has_spread_s, variance_s, 1.0))
    unit = [
        part / np.sqrt(variance if variance > 0 else 1.0)
        for part, variance in zip(centred, variance_s, strict=True)
        if variance > 0
    ]
    return mean_d, np.concatenate(unit), float(np.exp(weight_s @ logarithm_s))


def _moments(
    centred_md: Float64[np.ndarray, "m d"], direction_dr: Float64[np.ndarray, "d r"], scale: float
) -> _Moments:
    inside_mr = centred_md @ direction_dr
    num = max(len(centred_md), 1)
    covariance_rq = scale * (inside_mr.T @ inside_mr) / num
    rest = scale * float(np.square(centred_md).sum()) / num - float(np.trace(covariance_rq))
    return _Moments(len(centred_md), covariance_rq, max(rest, 0.0))


def _map(
    own: _Moments, target: _Moments, covariance: Literal["whole", "diagonal"], pseudo: float
) -> tuple[Float64[np.ndarray, "r r"], float]:
    """The map from a group's moments to the target's, and the factor outside."""
    identity_rq = np.eye(len(own.covariance_rq))
    tiny = np.finfo(np.float64).tiny
    if own.num_samples < 2 or min(own.trace, target.trace) <= tiny:
        return identity_rq, 1.0
    scale, weight = own.trace / target.trace, own.num_samples / (own.num_samples + pseudo)
    shape_rq = weight * own.covariance_rq + (1 - weight) * scale * target.covariance_rq
    rest = weight * own.rest + (1 - weight) * scale * target.rest
    factor = float(np.sqrt(1.0 / scale))
    # A rest of rounding errors alone has no scale of its own.
    if min(rest / scale, target.rest) > _FLOOR * target.trace:
        factor = float(np.sqrt(target.rest / rest))
    if covariance == "diagonal":
        floor = _FLOOR * target.trace
        own_r = np.maximum(np.diag(shape_rq) / scale, floor)
        target_r = np.maximum(np.diag(target.covariance_rq), floor)
        return np.diag(np.sqrt(target_r / own_r / scale)), factor
    return _transport(shape_rq / scale, target.covariance_rq) / np.sqrt(scale), factor


def _transport(
    from_rq: Float64[np.ndarray, "r r"], to_rq: Float64[np.ndarray, "r r"]
) -> Float64[np.ndarray, "r r"]:
    """The symmetric matrix that makes one covariance the other."""
    root_rq, inverse_rq = _root(from_rq, 0.5), _root(from_rq, -0.5)
    middle_rq = _root(root_rq @ _root(to_rq, 1.0) @ root_rq, 0.5, _FLOOR**2)
    return np.asarray(inverse_rq @ middle_rq @ inverse_rq)


def _root(
    matrix_rq: Float64[np.ndarray, "r r"], power: float, floor: float = _FLOOR
) -> Float64[np.ndarray, "r r"]:
    """A power of a covariance, whose eigenvalues are at least ``floor`` of its largest."""
    value_r, vector_rq = scipy.linalg.eigh((matrix_rq + matrix_rq.T) / 2)
    value_r = np.maximum(value_r, floor * max(value_r.max(), np.finfo(np.float64).tiny))
    return np.asarray((vector_rq * value_r**power) @ vector_rq.T)
