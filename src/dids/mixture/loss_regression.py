"""What a mixture does to the tasks' losses, as trials show it: a regression for every task.

Axis letters: n trials, m mixtures asked for, k domains, t tasks.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float64
from scipy.optimize import minimize_scalar

from dids.errors import InputError

Regression = Literal["log-linear", "linear", "lightgbm"]
Predictor: TypeAlias = Callable[[np.ndarray], np.ndarray]

_FOLDS = 5
_PENALTIES = tuple(10.0**power for power in range(-4, 3))
_MOST_REST = 0.99
"""Fraction of the smallest loss seen that may be out of every mixture's reach, at most."""
_STEPS = 300
_SIDESTEP = 1e-4
_LIGHTGBM = {"n_estimators": 1000, "learning_rate": 1e-2, "seed": 42, "verbosity": -1}


def fitted_losses(
    mixture_nk: Float64[np.ndarray, "n k"], loss_nt: Float64[np.ndarray, "n t"], form: str
) -> Callable[[Float64[np.ndarray, "m k"]], Float64[np.ndarray, "m t"]]:
    """Predict the tasks' losses of mixtures from those of some trials.

    ``linear`` is ``b + a · p`` (RegMix, arXiv:2407.01492), ``log-linear`` ``c + exp(b + a · p)``
    with ``c >= 0`` (the mixing law of Ye et al. 2024, arXiv:2403.16952), ``concave`` the same of p
    or of its square root, whichever fits, as returns diminish, ``lightgbm`` boosted trees with the
    settings of RegMix's released code. The others shrink a by a penalty on its square; penalty, c
    and root are those that foretell left-out trials best, in five folds.

    Args:
        mixture_nk: Of the trials.
        loss_nt: Of every task after each of them.
        form: ``log-linear``, ``linear``, ``concave`` or ``lightgbm``.

    Returns:
        A function of mixtures.

    Raises:
        InputError: If LightGBM is asked for and not installed.
    """
    if form == "lightgbm":
        of_task = [_lightgbm(mixture_nk, loss_n) for loss_n in loss_nt.T]
        return lambda mixture_mk: np.stack([predict(mixture_mk) for predict in of_task], axis=1)
    fit = _linear if form == "linear" else _log_linear
    powers = (1.0, 0.5) if form == "concave" else (1.0,)
    fits = [_Ridge(mixture_nk**power, penalty, power) for power in powers for penalty in _PENALTIES]
    laws = [fit(loss_n, fits) for loss_n in loss_nt.T]
    return lambda mixture_mk: np.stack([law(mixture_mk) for law in laws], axis=1)


def lowest_mixture(
    loss_of: Callable[[Float64[np.ndarray, "m k"]], Float64[np.ndarray, " m"]],
    start_k: Float64[np.ndarray, " k"],
) -> Float64[np.ndarray, " k"]:
    """The mixture of least loss that exponentiated gradient descent finds; the least for a law.

    ``p <- p exp(-g / (sqrt(i) max |g - p · g|))`` in step i, g by differences (Kivinen & Warmuth
    1997, Information and Computation 132).

    Args:
        loss_of: Losses of mixtures; a sum of log-linear laws is convex.
        start_k: Where it begins; every domain gets a little.
    """
    num_domains = len(start_k)
    mixture_k = 0.9 * start_k + 0.1 / num_domains
    best_loss, best_k = float(loss_of(mixture_k[None])[0]), mixture_k
    for number in range(1, _STEPS + 1):
        near_mk = (1.0 - _SIDESTEP) * mixture_k + _SIDESTEP * np.eye(num_domains)
        loss_m = loss_of(np.concatenate([mixture_k[None], near_mk]))
        if loss_m[0] < best_loss:
            best_loss, best_k = float(loss_m[0]), mixture_k
        slope_k = loss_m[1:] - loss_m[0]
        largest = float(np.abs(slope_k).max())
        if largest == 0.0:
            break
        log_k = np.log(np.maximum(mixture_k, 1e-12)) - slope_k / (largest * np.sqrt(number))
        mixture_k = np.exp(log_k - log_k.max())
        mixture_k = mixture_k / mixture_k.sum()
    return best_k


def _linear(loss_n: np.ndarray, fits: Sequence["_Ridge"]) -> Predictor:
    def error(fit: _Ridge) -> float:
        return float(((fit.left_out_nn @ loss_n - loss_n) ** 2).sum())

    best = min(fits, key=error)
    return lambda mixture_mk: best.weights(mixture_mk) @ loss_n


def _log_linear(loss_n: np.ndarray, fits: Sequence["_Ridge"]) -> Predictor:
    least = float(loss_n.min())

    def error(share: float, fit: _Ridge) -> float:
        """Of left-out trials, where c is a share of the least loss."""
        rest = share * least
        found_n = rest + np.exp(fit.left_out_nn @ np.log(loss_n - rest))
        return float(((found_n - loss_n) ** 2).sum())

    found = []
    for number, fit in enumerate(fits):
        best = minimize_scalar(
            error, bounds=(0.0, _MOST_REST), args=(fit,), options={"xatol": 1e-4}
        )
        found.append((float(best.fun), number, float(best.x) * least))
    _, number, rest = min(found)
    best_fit, log_n = fits[number], np.log(loss_n - rest)
    return lambda mixture_mk: rest + np.exp(best_fit.weights(mixture_mk) @ log_n)


class _Ridge:
    """Least squares with an intercept, the penalty in units of the features' mean variance.

    It is linear in the values: one set of weights serves all tasks, and every c.

    Args:
        feature_nk: Of the trials: their mixtures to a power.
        penalty: On the slope's square.
        power: Of the mixtures.
    """

    def __init__(self, feature_nk: np.ndarray, penalty: float, power: float) -> None:
        self.power = power
        self.penalty = penalty
        self._mean_k, self._slope_kn = _slopes(feature_nk, penalty)
        self.left_out_nn = self._left_out(feature_nk)
        """Weights of all trials in the prediction of each by those of the other folds."""

    def weights(self, mixture_mk: np.ndarray) -> np.ndarray:
        """Weights of the trials' values in what is predicted of mixtures."""
        away_mk = mixture_mk**self.power - self._mean_k
        return np.asarray(1.0 / self._slope_kn.shape[1] + away_mk @ self._slope_kn)

    def _left_out(self, feature_nk: np.ndarray) -> np.ndarray:
        num_trials = len(feature_nk)
        fold_n = np.arange(num_trials) % min(_FOLDS, num_trials)
        weight_nn = np.zeros((num_trials, num_trials))
        for fold in range(int(fold_n.max()) + 1):
            asked = np.flatnonzero(fold_n == fold)
            known = np.flatnonzero(fold_n != fold) if num_trials > 1 else asked
            mean_k, slope_kn = _slopes(feature_nk[known], self.penalty)
            away_mk = feature_nk[asked] - mean_k
            weight_nn[np.ix_(asked, known)] = 1.0 / len(known) + away_mk @ slope_kn
        return weight_nn


def _slopes(feature_nk: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean features, and what each trial's value adds to the slope."""
    num_trials, num_domains = feature_nk.shape
    mean_k = feature_nk.mean(axis=0)
    centred_nk = feature_nk - mean_k
    gram_kk = centred_nk.T @ centred_nk / num_trials
    ridge = penalty * max(float(gram_kk.trace()) / num_domains, 1e-12)
    return mean_k, np.linalg.solve(gram_kk + ridge * np.eye(num_domains), centred_nk.T / num_trials)


def _lightgbm(mixture_nk: np.ndarray, loss_n: np.ndarray) -> Predictor:
    """Without early stopping: there are too few trials to hold some back."""
    try:
        lightgbm: Any = importlib.import_module("lightgbm")
    except ImportError as error:
        raise InputError(
            "mixture.settings.regression: 'lightgbm' is not installed; install it, or take "
            "'log-linear'."
        ) from error
    model: Any = lightgbm.LGBMRegressor(**_LIGHTGBM, min_child_samples=2)
    model.fit(mixture_nk, loss_n)
    return lambda mixture_mk: np.asarray(model.predict(mixture_mk), dtype=np.float64)
