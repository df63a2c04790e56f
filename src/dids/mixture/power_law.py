"""Power laws of losses: ``L(n) = epsilon + beta * n ** -alpha``, fitted in logarithms.

Axis letters: b points of a loss curve, g starts of the search, k curves, p and q
parameters of a law.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

# ln beta, ln epsilon and alpha: where a search may start, in three groups of alphas, and bounds.
_STARTS_SG3 = [
    np.array(list(itertools.product(np.arange(-2, 6), np.arange(-2, 2, 0.5), alphas)))
    for alphas in ([0.1, 0.2], [0.3, 0.4, 0.5], [0.6, 0.7])
]
_MOST_LOG_BETA, _LEAST_LOG_EPSILON, _MOST_ALPHA = 6.5, 0.5, 0.8
# The last one counts; those before round its corners, in which reweighted squares are caught.
_HUBERS = (0.1, 0.01, 0.001)
_STEPS = 20
_LEAST_POINTS = 4


@dataclass(frozen=True)
class PowerLaw:
    """A loss curve.

    Attributes:
        log_beta: Of the part that training takes away.
        log_epsilon: Of the part that stays, in nats.
        alpha: How fast.
    """

    log_beta: float
    log_epsilon: float
    alpha: float

    def loss(self, seen: float) -> float:
        """Loss in nats after so much training."""
        return math.exp(self.log_epsilon) + self._reducible(seen)

    def slope(self, seen: float, least_alpha: float = 0.0) -> float:
        """How fast the loss falls: ``-dL/dn = alpha (L(n) - epsilon) / n``, never negative.

        Example:
            >>> PowerLaw(math.log(2.0), 0.0, 0.5).slope(4.0)
            0.125
        """
        return max(self.alpha, least_alpha) * self._reducible(seen) / seen

    def _reducible(self, seen: float) -> float:
        return math.exp(self.log_beta - self.alpha * math.log(seen))


def power_laws(
    seen_b: Float[np.ndarray, " b"], loss_bk: Float[np.ndarray, "b k"]
) -> list[PowerLaw | None]:
    """The laws nearest to loss curves.

    Each minimises the mean Huber loss (delta 0.001) of ``ln L`` from several starts, within
    ``ln beta <= 6.5``, ``0 <= alpha <= 0.8`` and ``ln epsilon >= 0.5``, or half of the lowest loss
    seen where that is less. (As in the code of Jiang et al. 2024, arXiv:2410.11820:
    github.com/yidingjiang/ado, src/data_selectors/ado.py.)

    Args:
        seen_b: How much was trained on, above zero.
        loss_bk: In nats; what is no number above zero is left out.

    Returns:
        None for a curve of which fewer than four points are left.

    Note:
        The paper runs L-BFGS from 512 starts, alpha = 0 among them. Here all curves take damped
        Gauss-Newton steps at once (Levenberg 1944, Marquardt 1963), from the nearest start with a
        small, a middle and a large alpha. Its bound on epsilon, 1.65 nats, suits raw text: answers
        are predicted better than that.

    Example:
        >>> n = np.arange(1.0, 60.0)
        >>> (law,) = power_laws(n, (2.0 + 3.0 * n**-0.4)[:, None])
        >>> round(math.exp(law.log_epsilon), 2), round(math.exp(law.log_beta), 2)
        (2.0, 3.0)
    """
    is_known_bk = np.isfinite(loss_bk) & (np.nan_to_num(loss_bk) > 0.0)
    is_fitted_k = is_known_bk.sum(axis=0) >= _LEAST_POINTS
    laws: list[PowerLaw | None] = [None] * len(is_fitted_k)
    if not is_fitted_k.any():
        return laws
    is_known_bk = is_known_bk[:, is_fitted_k]
    log_loss_bk = np.log(np.where(is_known_bk, loss_bk[:, is_fitted_k], 1.0))
    found_k3 = _nearest_laws(np.log(seen_b), log_loss_bk, is_known_bk)
    for domain, law_3 in zip(np.flatnonzero(is_fitted_k), found_k3, strict=True):
        laws[domain] = PowerLaw(*law_3.tolist())
    return laws


def _nearest_laws(
    log_seen_b: Float[np.ndarray, " b"],
    log_loss_bk: Float[np.ndarray, "b k"],
    is_known_bk: Bool[np.ndarray, "b k"],
) -> Float[np.ndarray, "k 3"]:
    """The best of one search from each group of starts, all of them made at once."""
    once = _Curves(log_seen_b, log_loss_bk, is_known_bk)
    num_groups = len(_STARTS_SG3)
    every = _Curves(log_seen_b, np.tile(log_loss_bk, num_groups), np.tile(is_known_bk, num_groups))
    start_k3 = np.concatenate([once.nearest_k3(start_g3) for start_g3 in _STARTS_SG3])
    law_k3, misfit_k = every.searched(start_k3)
    best_k = misfit_k.reshape(num_groups, -1).argmin(axis=0)
    return np.asarray(law_k3.reshape(num_groups, -1, 3)[best_k, np.arange(len(best_k))])


@dataclass(frozen=True)
class _Curves:
    log_seen_b: Float[np.ndarray, " b"]
    log_loss_bk: Float[np.ndarray, "b k"]
    is_known_bk: Bool[np.ndarray, "b k"]

    def nearest_k3(self, start_g3: Float[np.ndarray, "g 3"]) -> Float[np.ndarray, "k 3"]:
        """Of these starts the one that is nearest to each curve."""
        falling_gb = start_g3[:, :1] - start_g3[:, 2:] * self.log_seen_b
        predicted_gb = np.logaddexp(falling_gb, start_g3[:, 1:2])
        best_k = [
            np.abs(predicted_gb[:, is_known_b] - log_loss_b[is_known_b]).mean(axis=1).argmin()
            for log_loss_b, is_known_b in zip(self.log_loss_bk.T, self.is_known_bk.T, strict=True)
        ]
        return np.asarray(start_g3[best_k])

    def searched(
        self, start_k3: Float[np.ndarray, "k 3"]
    ) -> tuple[Float[np.ndarray, "k 3"], Float[np.ndarray, " k"]]:
        """Laws, and how far each is from its curve."""
        lowest_k = np.where(self.is_known_bk, self.log_loss_bk, np.inf).min(axis=0)
        lower_k3 = np.tile([-20.0, _LEAST_LOG_EPSILON, 0.0], (len(lowest_k), 1))
        lower_k3[:, 1] = np.minimum(_LEAST_LOG_EPSILON, lowest_k - math.log(2.0))
        upper_k3 = np.tile([_MOST_LOG_BETA, 20.0, _MOST_ALPHA], (len(lowest_k), 1))
        law_k3 = np.clip(start_k3, lower_k3, upper_k3)
        for huber in _HUBERS:
            law_k3, misfit_k = self._nearer(law_k3, lower_k3, upper_k3, huber)
        return law_k3, misfit_k

    def _nearer(
        self,
        law_k3: Float[np.ndarray, "k 3"],
        lower_k3: Float[np.ndarray, "k 3"],
        upper_k3: Float[np.ndarray, "k 3"],
        huber: float,
    ) -> tuple[Float[np.ndarray, "k 3"], Float[np.ndarray, " k"]]:
        law_k3, damping_k = law_k3.copy(), np.full(len(law_k3), 1e-4)
        misfit_k, gradient_k3, curvature_k33 = self._misfit(law_k3, huber)
        for _ in range(_STEPS):
            would_leave_k3 = (law_k3 <= lower_k3) & (gradient_k3 > 0)
            would_leave_k3 |= (law_k3 >= upper_k3) & (gradient_k3 < 0)
            step_k3 = _damped_step(gradient_k3, curvature_k33, damping_k, would_leave_k3)
            next_k3 = np.clip(law_k3 + step_k3, lower_k3, upper_k3)
            next_misfit_k, next_gradient_k3, next_curvature_k33 = self._misfit(next_k3, huber)
            is_better_k = next_misfit_k < misfit_k
            law_k3[is_better_k] = next_k3[is_better_k]
            misfit_k[is_better_k] = next_misfit_k[is_better_k]
            gradient_k3[is_better_k] = next_gradient_k3[is_better_k]
            curvature_k33[is_better_k] = next_curvature_k33[is_better_k]
            damping_k = np.clip(damping_k * np.where(is_better_k, 0.1, 10.0), 1e-12, 1e6)
        return law_k3, misfit_k

    def _misfit(
        self, law_k3: Float[np.ndarray, "k 3"], huber: float
    ) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k 3"], Float[np.ndarray, "k 3 3"]]:
        """Mean Huber loss over its slope, with gradient and curvature as reweighted squares."""
        log_beta_k, log_epsilon_k, alpha_k = law_k3.T
        falling_bk = log_beta_k - self.log_seen_b[:, None] * alpha_k
        predicted_bk = np.logaddexp(falling_bk, log_epsilon_k)
        residual_bk = predicted_bk - self.log_loss_bk
        size_bk = np.abs(residual_bk)
        part_bk = self.is_known_bk / self.is_known_bk.sum(axis=0)
        huber_bk = np.where(size_bk > huber, size_bk - 0.5 * huber, 0.5 * size_bk**2 / huber)
        weight_bk = part_bk / np.maximum(size_bk, huber)
        falling_part_bk = np.exp(falling_bk - predicted_bk)
        slope_3bk = np.stack(
            [
                falling_part_bk,
                1.0 - falling_part_bk,
                -falling_part_bk * self.log_seen_b[:, None],
            ]
        )
        weighted_3bk = slope_3bk * weight_bk
        gradient_k3 = np.einsum("pbk,bk->kp", weighted_3bk, residual_bk)
        curvature_k33 = np.einsum("pbk,qbk->kpq", weighted_3bk, slope_3bk)
        misfit_k = np.asarray((part_bk * huber_bk).sum(axis=0))
        return misfit_k, gradient_k3, curvature_k33


def _damped_step(
    gradient_k3: Float[np.ndarray, "k 3"],
    curvature_k33: Float[np.ndarray, "k 3 3"],
    damping_k: Float[np.ndarray, " k"],
    is_held_k3: Bool[np.ndarray, "k 3"],
) -> Float[np.ndarray, "k 3"]:
    """The step of Levenberg and Marquardt; what lies on a bound and would leave it stands still."""
    is_held_k33 = is_held_k3[:, :, None] | is_held_k3[:, None, :]
    damped_k33 = np.where(is_held_k33, 0.0, curvature_k33)
    diagonal_k3 = np.einsum("kpp->kp", damped_k33)
    diagonal_k3 *= 1.0 + damping_k[:, None]
    diagonal_k3 += np.where(is_held_k3, 1.0, 1e-12)
    pulled_k3 = np.where(is_held_k3, 0.0, gradient_k3)
    return np.asarray(-np.linalg.solve(damped_k33, pulled_k3[:, :, None])[:, :, 0])
