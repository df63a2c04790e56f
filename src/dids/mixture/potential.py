"""The potential of a task: the loss drop that its trajectory still promises.

A bounded fit of ``loss(n) = a exp(-b n) + c`` with ``a, b, c >= 0`` and ``c`` no higher than the
lowest loss seen. For a given ``b`` the best ``a`` and ``c`` are a small least-squares problem
with a closed answer, so only ``b`` is searched for, and the search cannot fail.

Axis letters: n points of the history, g values of b that are tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

_LEAST_POINTS = 4
# Recent points only: a single exponential does not fit the steep start and the tail at once.
_WINDOW = 12
# Decay over the whole window: from a straight line to a drop within the first step.
_LOG_DECAYS = np.linspace(np.log(0.02), np.log(50.0), 60)
_LEAST_EXPLAINED = 0.5


@dataclass(frozen=True)
class Potential:
    """The drop that a task's losses promise.

    Attributes:
        drop_nats: Predicted fall of the loss over the next horizon, never negative; 0 where the fit
            is not reliable.
        standard_error_nats: Of the prediction; infinite where it is not reliable.
        is_reliable: False with fewer than four points, where the curve explains less than half of
            the variance, or where the error is larger than the drop.
    """

    drop_nats: float
    standard_error_nats: float
    is_reliable: bool


UNKNOWN = Potential(0.0, float("inf"), False)
"""What is said of a task whose trajectory says nothing: neutral."""


def potential(history: Sequence[tuple[int, float]], horizon_tokens: int) -> Potential:
    """Predicted fall of a task's loss over the next ``horizon_tokens`` tokens.

    Args:
        history: Pairs of tokens trained on and loss, in order.
        horizon_tokens: How far ahead to look.

    Returns:
        The drop, its standard error, and whether to believe it.

    Raises:
        ValueError: If a loss is no number.

    Example:
        >>> history = [(n, 2.0 * 0.5**n + 1.0) for n in range(6)]
        >>> round(potential(history, 1).drop_nats, 4)
        0.0312
    """
    recent = np.array(list(history)[-_WINDOW:], dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(recent).all():
        raise ValueError("the history of losses has entries that are no numbers.")
    if len(recent) < _LEAST_POINTS or recent[-1, 0] <= recent[0, 0]:
        return UNKNOWN
    span = recent[-1, 0] - recent[0, 0]
    time_n, loss_n = (recent[:, 0] - recent[0, 0]) / span, recent[:, 1]
    variance = float(((loss_n - loss_n.mean()) ** 2).sum())
    decay, amplitude, error = _fit(time_n, loss_n)
    if variance <= 0.0 or error > (1.0 - _LEAST_EXPLAINED) * variance or amplitude <= 0.0:
        return UNKNOWN
    horizon = horizon_tokens / span
    drop = amplitude * np.exp(-decay) * -np.expm1(-decay * horizon)
    standard_error = _standard_error(time_n, decay, amplitude, error, horizon)
    if not standard_error <= drop:
        return UNKNOWN
    return Potential(float(drop), standard_error, True)


def _fit(time_n: np.ndarray, loss_n: np.ndarray) -> tuple[float, float, float]:
    """Decay, amplitude and squared error of the best curve."""
    errors = [_curve(np.exp(log_decay), time_n, loss_n)[1] for log_decay in _LOG_DECAYS]
    best = int(np.argmin(errors))
    around = _LOG_DECAYS[max(0, best - 1)], _LOG_DECAYS[min(len(errors) - 1, best + 1)]
    found = minimize_scalar(
        lambda log_decay: _curve(np.exp(log_decay), time_n, loss_n)[1],
        bounds=around,
        method="bounded",
        options={"xatol": 1e-7},
    )
    decay = float(np.exp(found.x))
    return decay, *_curve(decay, time_n, loss_n)


def _curve(decay: float, time_n: np.ndarray, loss_n: np.ndarray) -> tuple[float, float]:
    """Amplitude and squared error of the best curve with this decay."""
    shape_n = np.exp(-decay * time_n)
    centred_n = shape_n - shape_n.mean()
    slope = float(centred_n @ loss_n / max(float(centred_n @ centred_n), 1e-300))
    level = float(loss_n.mean() - slope * shape_n.mean())
    candidates = [(slope, level)] if slope >= 0.0 and 0.0 <= level <= loss_n.min() else []
    for edge in (0.0, float(loss_n.min())):
        at_edge = float(shape_n @ (loss_n - edge)) / float(shape_n @ shape_n)
        candidates.append((max(0.0, at_edge), edge))
    errors = [float(((a * shape_n + c - loss_n) ** 2).sum()) for a, c in candidates]
    best = int(np.argmin(errors))
    return candidates[best][0], errors[best]


def _standard_error(
    time_n: np.ndarray, decay: float, amplitude: float, error: float, horizon: float
) -> float:
    """Delta method: the drop's derivatives by amplitude and decay, and the fit's covariance."""
    shape_n = np.exp(-decay * time_n)
    jacobian_n3 = np.stack([shape_n, -amplitude * time_n * shape_n, np.ones_like(time_n)], axis=1)
    noise = error / max(1, len(time_n) - 3)
    covariance = noise * np.linalg.pinv(jacobian_n3.T @ jacobian_n3)
    now, then = np.exp(-decay), np.exp(-decay * (1.0 + horizon))
    gradient = np.array([now - then, amplitude * ((1.0 + horizon) * then - now), 0.0])
    return float(np.sqrt(max(0.0, gradient @ covariance @ gradient)))
