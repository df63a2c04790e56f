"""The policy ``dids-released``: the authors' released code as it was found, its slips included.

For comparison: what the paper describes, with the slips mended, is the policy ``dids-paper``.

Axis letters: k domains, t tasks.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from scipy.optimize import curve_fit

from dids.mixture.explanation import impact_explanation
from dids.mixture.forgetful import Forgetful
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision, unmeasured
from dids.mixture.setting_ranges import check_below_one

# Losses that the released code waits for before it fits a curve, and rounds that it looks ahead.
_WINDOW = 5
_UNKNOWN_POTENTIAL = 1.0
_LEAST_WEIGHT = 1e-7


class DidsReleased(Forgetful):
    """``p = ema p_before + (1 - ema) U / sum U``, with ``U_k`` the mean over tasks of a utility.

    ``U_kt = share_kt * (improvement_t + potential_t) / p_k``, in nats; negative sums count 1e-7.
    ``share_kt = (max_l K_lt - K_kt) / sum_l (max - K_lt)`` is what turns distances into shares, and
    ``K`` here is the kernel ``1/2 <step_k, F_t step_t>``, a similarity: the more a domain helps,
    the less it gets. (The released code of Shi et al. 2025, arXiv:2504.13227, ``mixture_DIDS.py``,
    ``DIDS_mixture_multi_task`` and ``calculate_potential_factor``; beta is 0.2 there.)

    Args:
        ema: Weight of the previous mixture in the next one, from 0 to below 1.

    Note:
        The conversion alone is the released code's. Its gradients, Fisher information, sampler and
        evaluation have slips of their own, which no policy can bring back. Where its unbounded fit
        predicts no number, the potential is 0 as where the fit fails; limits hold as for others.
    """

    needs_impact = True
    needs = Needs(metric="fisher", robust_tasks=False)

    def __init__(self, *, ema: float = 0.2) -> None:
        check_below_one(ema=ema)
        self.ema = ema

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins; the one before where nothing was measured."""
        impact = observation.impact
        if impact is None:
            return unmeasured(observation)
        previous_k = observation.previous
        share_kt = turned_round_shares(0.5 * impact.kernel_kt)
        gain_t = np.array(
            [released_gain(observation.task_losses.get(task, ())) for task in impact.task_names]
        )
        utility_k = share_kt.sum(axis=1)
        if not np.isnan(gain_t).all():
            # A task without two losses adds nothing, but is among those that the mean is over.
            utility_k = (share_kt * np.nan_to_num(gain_t)).mean(axis=1)
            utility_k = utility_k / np.where(previous_k > 0.0, previous_k, np.inf)
        weight_k = np.where(utility_k < 0.0, _LEAST_WEIGHT, utility_k)
        best_k = np.full(len(weight_k), 1.0 / len(weight_k))
        if weight_k.sum() > 0.0:
            best_k = weight_k / weight_k.sum()
        next_k = self.ema * previous_k + (1.0 - self.ema) * best_k
        return PolicyDecision(
            observation.limits.project(next_k),
            impact_explanation(
                observation,
                np.full(len(gain_t), 1.0 / len(gain_t)),
                share_kt * np.nan_to_num(gain_t, nan=1.0),
                {"utility": utility_k, "best": best_k},
            ),
        )


def turned_round_shares(kernel_kt: Float64[np.ndarray, "k t"]) -> Float64[np.ndarray, "k t"]:
    """What the released code makes of a similarity that it takes for a distance.

    Args:
        kernel_kt: High is good.

    Returns:
        Each domain's share of every task, 0 for the best; all 0 where all domains are alike.

    Example:
        >>> turned_round_shares(np.array([[3.0], [2.0], [0.0]])).T
        array([[0.  , 0.25, 0.75]])
    """
    below_kt = kernel_kt.max(axis=0) - kernel_kt
    total_t = below_kt.sum(axis=0)
    share_kt: np.ndarray = np.zeros_like(below_kt)
    np.divide(below_kt, total_t, out=share_kt, where=total_t > 0)
    return share_kt


def released_gain(history: Sequence[tuple[int, float]]) -> float:
    """A task's last loss drop and the drop that the released code predicts, in nats.

    Fewer than five losses have a potential of 1. Later it is what ``a exp(-b x) + c``, fitted to
    all losses without bounds, falls by until five rounds from now; 0 where the fit fails.

    Args:
        history: Pairs of tokens, which are not looked at, and loss.

    Returns:
        NaN for fewer than two losses.
    """
    if len(history) < 2:
        return float("nan")
    loss_n = np.array([loss for _, loss in history])
    improvement = float(loss_n[-2] - loss_n[-1])
    if len(loss_n) < _WINDOW:
        return improvement + _UNKNOWN_POTENTIAL
    return improvement + _predicted_drop(loss_n)


def _predicted_drop(loss_n: np.ndarray) -> float:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            (a, b, c), _ = curve_fit(
                lambda x, a, b, c: a * np.exp(-b * x) + c,
                np.arange(len(loss_n)),
                loss_n,
                p0=[loss_n[0] - loss_n[-1], 0.1, loss_n[-1]],
                maxfev=2000,
            )
        except (RuntimeError, ValueError):
            return 0.0
        drop = float(loss_n[-1] - (a * np.exp(-b * (len(loss_n) + _WINDOW)) + c))
    return drop if np.isfinite(drop) else 0.0
