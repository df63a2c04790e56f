"""Power laws of losses: ``L(n) = epsilon + beta * n ** -alpha``, fitted in logarithms.

Axis letters: b points of a loss curve, g starts of the search.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

# ln beta, ln epsilon and alpha: where the search may start, and its bounds.
_STARTS_G3 = np.array(
    list(itertools.product(np.arange(-2, 6), np.arange(-2, 2, 0.5), np.arange(0, 0.8, 0.1)))
)
_MOST_LOG_BETA, _LEAST_LOG_EPSILON, _MOST_ALPHA = 6.5, 0.5, 0.8
_HUBER = 1e-3
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


def power_law(seen_b: Float[np.ndarray, " b"], loss_b: Float[np.ndarray, " b"]) -> PowerLaw | None:
    """The law nearest to a loss curve.

    Minimises the Huber loss (delta 0.001) of ``ln L`` from the best of 512 starts, within ``ln beta
    <= 6.5``, ``0 <= alpha <= 0.8`` and ``ln epsilon >= 0.5`` or half of the lowest loss seen,
    whichever is less. (As in the code of Jiang et al. 2024, arXiv:2410.11820:
    github.com/yidingjiang/ado, src/data_selectors/ado.py.)

    Args:
        seen_b: How much was trained on, above zero.
        loss_b: In nats; what is no number above zero is left out.

    Returns:
        None where fewer than four points are left.

    Note:
        The search of the paper begins at every start; here at the one where the loss is least. Its
        bound on epsilon, 1.65 nats, suits raw text: answers are predicted better than that.

    Example:
        >>> n = np.arange(1.0, 60.0)
        >>> law = power_law(n, 2.0 + 3.0 * n**-0.4)
        >>> round(math.exp(law.log_epsilon), 2), round(math.exp(law.log_beta), 2)
        (2.0, 3.0)
    """
    is_known_b = np.isfinite(loss_b) & (loss_b > 0) & (seen_b > 0)
    if is_known_b.sum() < _LEAST_POINTS:
        return None
    log_seen_b, log_loss_b = np.log(seen_b[is_known_b]), np.log(loss_b[is_known_b])
    least_log_epsilon = min(_LEAST_LOG_EPSILON, float(log_loss_b.min()) - math.log(2.0))
    bounds = [(-20.0, _MOST_LOG_BETA), (least_log_epsilon, 20.0), (0.0, _MOST_ALPHA)]
    lower_3, upper_3 = np.array(bounds).T
    start_g3 = np.clip(_STARTS_G3, lower_3, upper_3)
    first_3 = start_g3[_misfit(start_g3, log_seen_b, log_loss_b).argmin()]
    found = minimize(
        _misfit_and_gradient,
        first_3,
        args=(log_seen_b, log_loss_b),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 200, "gtol": 1e-4},
    )
    log_beta, log_epsilon, alpha = found.x.tolist()
    return PowerLaw(log_beta, log_epsilon, alpha)


def _misfit(
    start_g3: Float[np.ndarray, "g 3"],
    log_seen_b: Float[np.ndarray, " b"],
    log_loss_b: Float[np.ndarray, " b"],
) -> Float[np.ndarray, " g"]:
    falling_gb = start_g3[:, :1] - start_g3[:, 2:] * log_seen_b
    residual_gb = np.abs(np.logaddexp(falling_gb, start_g3[:, 1:2]) - log_loss_b)
    huber_gb = np.where(
        residual_gb > _HUBER, residual_gb - 0.5 * _HUBER, 0.5 * residual_gb**2 / _HUBER
    )
    return np.asarray(huber_gb.mean(axis=1))


def _misfit_and_gradient(
    law_3: Float[np.ndarray, " 3"],
    log_seen_b: Float[np.ndarray, " b"],
    log_loss_b: Float[np.ndarray, " b"],
) -> tuple[float, Float[np.ndarray, " 3"]]:
    """In units of the Huber loss's slope, so that the search sees numbers of a usual size."""
    falling_b = law_3[0] - law_3[2] * log_seen_b
    predicted_b = np.logaddexp(falling_b, law_3[1])
    residual_b = predicted_b - log_loss_b
    size_b = np.abs(residual_b)
    huber_b = np.where(size_b > _HUBER, size_b - 0.5 * _HUBER, 0.5 * size_b**2 / _HUBER)
    pull_b = np.clip(residual_b / _HUBER, -1.0, 1.0) / len(residual_b)
    falling_part_b = np.exp(falling_b - predicted_b)
    pulled_b = pull_b * falling_part_b
    gradient_3 = np.array(
        [pulled_b.sum(), (pull_b * (1.0 - falling_part_b)).sum(), -(pulled_b * log_seen_b).sum()]
    )
    return float(huber_b.mean()), gradient_3
