"""The prior: the mixture nearest to uniform that gives some sums of domains their shares.

Axis letters: k domains, m sums.
"""

import numpy as np
from jaxtyping import Float64

_ENOUGH = 1e-13
_MOST_ITERATIONS = 100
_LEAST_SHARE = 1e-9


def prior_with_shares(
    row_mk: Float64[np.ndarray, "m k"], share_m: Float64[np.ndarray, " m"]
) -> Float64[np.ndarray, " k"] | None:
    """The mixture p with ``row @ p = share`` that has the least relative entropy to uniform.

    ``p_k`` is proportional to ``exp(sum_m a_m row_mk)``: inside a sum, and outside all of them,
    domains stay equal. The a's minimise ``log sum_k exp(a' row_k) - a' share``, by Newton's method
    with halved steps where it goes too far (Csiszár 1975, Annals of Probability 3).

    Args:
        row_mk: How much of each domain counts in each sum, from 0 to 1.
        share_m: What the sums are to be.

    Returns:
        A positive mixture; None where none has these shares.

    Example:
        >>> prior_with_shares(np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([0.8])).round(3)
        array([0.4, 0.4, 0.1, 0.1])
    """
    num_domains = row_mk.shape[1]
    multiplier_m = np.zeros(len(share_m))
    value, prior_k = _dual(multiplier_m, row_mk, share_m)
    for _ in range(_MOST_ITERATIONS):
        missing_m = share_m - row_mk @ prior_k
        if np.abs(missing_m).max(initial=0.0) < _ENOUGH:
            break
        mean_m = row_mk @ prior_k
        curvature_mm = (row_mk * prior_k) @ row_mk.T - np.outer(mean_m, mean_m)
        step_m = np.linalg.lstsq(curvature_mm, missing_m, rcond=1e-12)[0]
        length = 1.0
        while length > 1e-8:
            next_value, next_k = _dual(multiplier_m + length * step_m, row_mk, share_m)
            if next_value <= value:
                break
            length /= 2
        if next_value > value:
            break  # as near as rounding allows
        multiplier_m = multiplier_m + length * step_m
        value, prior_k = next_value, next_k
    is_met = np.abs(share_m - row_mk @ prior_k).max(initial=0.0) < 1e-8
    if not is_met or prior_k.min() < _LEAST_SHARE / num_domains:
        return None
    return np.asarray(prior_k / prior_k.sum())


def leaning_prior(
    prior_k: Float64[np.ndarray, " k"], loss_k: Float64[np.ndarray, " k"], per_nat: float
) -> Float64[np.ndarray, " k"]:
    """The prior, leaning to what is not learnt yet: ``p_k`` is as ``prior_k e^(a loss_k)``.

    Args:
        prior_k: A positive mixture.
        loss_k: Of the domains' own samples, nats a scored token.
        per_nat: a; 0 leaves the prior as it is.

    Returns:
        A positive mixture.

    Example:
        >>> leaning_prior(np.array([0.5, 0.5]), np.array([2.0, 2.0 + np.log(3.0)]), 1.0).round(3)
        array([0.25, 0.75])
    """
    leaning_k = prior_k * np.exp(per_nat * (loss_k - loss_k.max()))
    return np.asarray(leaning_k / leaning_k.sum())


def _dual(
    multiplier_m: np.ndarray, row_mk: np.ndarray, share_m: np.ndarray
) -> tuple[float, np.ndarray]:
    exponent_k = multiplier_m @ row_mk
    highest = float(exponent_k.max())
    weight_k = np.exp(exponent_k - highest)
    total = float(weight_k.sum())
    return highest + float(np.log(total)) - float(multiplier_m @ share_m), weight_k / total
