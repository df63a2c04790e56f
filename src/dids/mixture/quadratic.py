"""Convex quadratic problems over mixtures, solved by Clarabel's interior-point method.

Axis letters: k domains, m groups of domains.
"""

import clarabel
import numpy as np
from jaxtyping import Bool, Float64
from scipy import sparse

# Bounds closer than this are one value; an interior-point method needs an interior.
SAME = 1e-12
_TOLERANCE = 1e-11
# Keeps the problem strictly convex, so that copies of a domain share their weight. The objective is
# scaled to entries of size 1 first, so this moves no answer by anything that a sampler could show.
_RIDGE = 1e-7
# Of a step measured in units of the best one: below it there is no direction, only rounding.
_NO_STEP = 1e-6


def best_mixture(
    quadratic_kk: Float64[np.ndarray, "k k"],
    linear_k: Float64[np.ndarray, " k"],
    lower_k: Float64[np.ndarray, " k"],
    upper_k: Float64[np.ndarray, " k"],
    group_mk: Float64[np.ndarray, "m k"],
    lower_m: Float64[np.ndarray, " m"],
    upper_m: Float64[np.ndarray, " m"],
) -> Float64[np.ndarray, " k"]:
    """The mixture that minimises ``1/2 p' Q p + c' p`` within bounds.

    Args:
        quadratic_kk: Q, symmetric and positive semi-definite.
        linear_k: c.
        lower_k: Least probability of each domain.
        upper_k: Greatest probability of each domain.
        group_mk: Share of each domain that counts for each group.
        lower_m: Least probability of each group.
        upper_m: Greatest probability of each group; infinite for none.

    Returns:
        Non-negative, summing to 1, inside ``lower_k`` and ``upper_k`` to the last bits.

    Raises:
        ValueError: If the solver finds no such mixture.
    """
    num_domains = len(linear_k)
    size = max(np.abs(quadratic_kk).max(initial=0.0), np.abs(linear_k).max(initial=0.0))
    size = size if size > 0.0 else 1.0
    convex_kk = quadratic_kk / size + _RIDGE * np.eye(num_domains)
    identity_kk = np.eye(num_domains)
    is_pinned_k = upper_k - lower_k <= SAME
    has_cap_k = ~is_pinned_k & (upper_k < 1.0)
    is_pinned_m = upper_m - lower_m <= SAME
    equal_rows = np.vstack(
        [np.ones((1, num_domains)), identity_kk[is_pinned_k], group_mk[is_pinned_m]]
    )
    equal_values = np.concatenate([[1.0], lower_k[is_pinned_k], lower_m[is_pinned_m]])
    has_floor_m, has_ceiling_m = ~is_pinned_m, ~is_pinned_m & np.isfinite(upper_m)
    below_rows = np.vstack(
        [
            -identity_kk[~is_pinned_k],
            identity_kk[has_cap_k],
            -group_mk[has_floor_m],
            group_mk[has_ceiling_m],
        ]
    )
    below_values = np.concatenate(
        [-lower_k[~is_pinned_k], upper_k[has_cap_k], -lower_m[has_floor_m], upper_m[has_ceiling_m]]
    )
    mixture_k = _solution(
        convex_kk, linear_k / size, equal_rows, equal_values, below_rows, below_values
    )
    return _within(mixture_k, lower_k, upper_k)


def best_direction(
    quadratic_kk: Float64[np.ndarray, "k k"],
    linear_k: Float64[np.ndarray, " k"],
    limit_mk: Float64[np.ndarray, "m k"],
    equal_mk: Float64[np.ndarray, "n k"],
    is_drawn_k: Bool[np.ndarray, " k"],
) -> Float64[np.ndarray, " k"] | None:
    """The mixture with the best ``min over s of 1/2 s^2 p' Q p + s c' p``: its length s is free.

    Args:
        quadratic_kk: Q, symmetric and positive semi-definite.
        linear_k: c.
        limit_mk: Limits that any multiple of a mixture keeps if it does: ``row @ p >= 0``.
        equal_mk: Those that leave nothing free: ``row @ p = 0``. Two opposite limits in their place
            would be a set without an interior, which the solver does not end in.
        is_drawn_k: Which domains may have anything at all.

    Returns:
        Non-negative, summing to 1; None where nothing within the limits is better than no step.

    Raises:
        ValueError: If the solver fails.
    """
    num_domains = len(linear_k)
    size, pull = np.abs(quadratic_kk).max(initial=0.0), np.abs(linear_k).max(initial=0.0)
    if size == 0.0 or pull == 0.0:
        return None
    identity_kk = np.eye(num_domains)
    equal_rows = np.vstack([identity_kk[~is_drawn_k], equal_mk])
    below_rows = np.vstack([-identity_kk[is_drawn_k], -limit_mk])
    step_k = _solution(
        quadratic_kk / size + _RIDGE * identity_kk,
        linear_k / pull,
        equal_rows,
        np.zeros(len(equal_rows)),
        below_rows,
        np.zeros(len(below_rows)),
    )
    step_k = np.maximum(step_k, 0.0)
    if step_k.sum() <= _NO_STEP:
        return None
    return np.asarray(step_k / step_k.sum())


def _solution(
    quadratic_kk: np.ndarray,
    linear_k: np.ndarray,
    equal_rows: np.ndarray,
    equal_values: np.ndarray,
    below_rows: np.ndarray,
    below_values: np.ndarray,
) -> np.ndarray:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = _TOLERANCE
    solution = clarabel.DefaultSolver(
        sparse.csc_matrix(np.triu(quadratic_kk)),
        linear_k,
        sparse.csc_matrix(np.vstack([equal_rows, below_rows])),
        np.concatenate([equal_values, below_values]),
        [clarabel.ZeroConeT(len(equal_values)), clarabel.NonnegativeConeT(len(below_values))],
        settings,
    ).solve()
    if str(solution.status) not in {"Solved", "AlmostSolved"}:
        raise ValueError(f"no mixture within the limits was found: {solution.status}.")
    return np.array(solution.x)


def _within(
    mixture_k: np.ndarray, lower_k: np.ndarray, upper_k: np.ndarray
) -> Float64[np.ndarray, " k"]:
    """Take out the solver's last rounding: exactly inside the bounds, summing to 1."""
    mixture_k = np.clip(mixture_k, lower_k, upper_k)
    missing = 1.0 - float(mixture_k.sum())
    room_k = upper_k - mixture_k if missing > 0 else mixture_k - lower_k
    if room_k.sum() > 0:
        mixture_k = mixture_k + missing * room_k / room_k.sum()
    return np.asarray(np.clip(mixture_k, lower_k, upper_k))
