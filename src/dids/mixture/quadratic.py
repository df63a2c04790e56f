"""Convex quadratic problems over mixtures, solved by Clarabel's interior-point method.

Axis letters: k domains, m groups of domains.
"""

import clarabel
import numpy as np
from jaxtyping import Float64
from scipy import sparse

# Bounds closer than this are one value; an interior-point method needs an interior.
_SAME = 1e-12
_TOLERANCE = 1e-11
# Keeps the problem strictly convex, so that copies of a domain share their weight. The objective is
# scaled to entries of size 1 first, so this moves no answer by anything that a sampler could show.
_RIDGE = 1e-7


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
    is_pinned_k = upper_k - lower_k <= _SAME
    has_cap_k = ~is_pinned_k & (upper_k < 1.0)
    equal_rows = np.vstack([np.ones((1, num_domains)), identity_kk[is_pinned_k]])
    equal_values = np.concatenate([[1.0], lower_k[is_pinned_k]])
    has_ceiling_m = np.isfinite(upper_m)
    below_rows = np.vstack(
        [-identity_kk[~is_pinned_k], identity_kk[has_cap_k], -group_mk, group_mk[has_ceiling_m]]
    )
    below_values = np.concatenate(
        [-lower_k[~is_pinned_k], upper_k[has_cap_k], -lower_m, upper_m[has_ceiling_m]]
    )
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = _TOLERANCE
    solution = clarabel.DefaultSolver(
        sparse.csc_matrix(np.triu(convex_kk)),
        linear_k / size,
        sparse.csc_matrix(np.vstack([equal_rows, below_rows])),
        np.concatenate([equal_values, below_values]),
        [clarabel.ZeroConeT(len(equal_values)), clarabel.NonnegativeConeT(len(below_values))],
        settings,
    ).solve()
    if str(solution.status) not in {"Solved", "AlmostSolved"}:
        raise ValueError(f"no mixture within the limits was found: {solution.status}.")
    return _within(np.array(solution.x), lower_k, upper_k)


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
