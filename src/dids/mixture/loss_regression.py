"""What a mixture does to the tasks' losses, as trials show it: a regression for every task.

Axis letters: n trials, m mixtures asked for, k domains, t tasks.
"""

import importlib
from collections.abc import Callable
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
_LIGHTGBM = {"n_estimators": 1000, "learning_rate": 1e-2, "seed": 42, "verbosity": -1}


def fitted_losses(
    mixture_nk: Float64[np.ndarray, "n k"], loss_nt: Float64[np.ndarray, "n t"], form: str
) -> Callable[[Float64[np.ndarray, "m k"]], Float64[np.ndarray, "m t"]]:
    """Predict the tasks' losses of mixtures from those of some trials.

    ``linear`` is ``b + a · p`` (RegMix, arXiv:2407.01492), ``log-linear`` ``c + exp(b + a · p)``
    with ``c >= 0`` (the mixing law of Ye et al. 2024, arXiv:2403.16952), ``lightgbm`` boosted trees
    with the settings of RegMix's released code. The first two shrink a by a penalty on its square;
    penalty and c are those that foretell left-out trials best, in five folds.

    Args:
        mixture_nk: Of the trials.
        loss_nt: Of every task after each of them.
        form: ``log-linear``, ``linear`` or ``lightgbm``.

    Returns:
        A function of mixtures.

    Raises:
        InputError: If LightGBM is asked for and not installed.
    """
    fit = {"linear": _linear, "log-linear": _log_linear, "lightgbm": _lightgbm}[form]
    of_task = [fit(mixture_nk, loss_n) for loss_n in loss_nt.T]
    return lambda mixture_mk: np.stack([predict(mixture_mk) for predict in of_task], axis=1)


def _linear(mixture_nk: np.ndarray, loss_n: np.ndarray) -> Predictor:
    _, penalty = min((_left_out_error(mixture_nk, loss_n, p, None), p) for p in _PENALTIES)
    return _ridge(mixture_nk, loss_n, penalty)


def _log_linear(mixture_nk: np.ndarray, loss_n: np.ndarray) -> Predictor:
    least = float(loss_n.min())

    def best_rest(penalty: float) -> tuple[float, float]:
        """Left-out error and c, at the best c for a penalty."""
        found = minimize_scalar(
            lambda share: _left_out_error(mixture_nk, loss_n, penalty, share * least),
            bounds=(0.0, _MOST_REST),
            method="bounded",
            options={"xatol": 1e-4},
        )
        return float(found.fun), float(found.x) * least

    (_, rest), penalty = min((best_rest(penalty), penalty) for penalty in _PENALTIES)
    return _ridge_of_log(mixture_nk, loss_n, penalty, rest)


def _left_out_error(
    mixture_nk: np.ndarray, loss_n: np.ndarray, penalty: float, rest: float | None
) -> float:
    """Mean squared error on trials that were left out of the fit, fold by fold."""
    fold_n = np.arange(len(loss_n)) % _FOLDS
    error = 0.0
    for fold in np.unique(fold_n):
        known, asked = fold_n != fold, fold_n == fold
        if not known.any():
            return 0.0
        if rest is None:
            predict = _ridge(mixture_nk[known], loss_n[known], penalty)
        else:
            predict = _ridge_of_log(mixture_nk[known], loss_n[known], penalty, rest)
        error += float(((predict(mixture_nk[asked]) - loss_n[asked]) ** 2).sum())
    return error


def _ridge_of_log(
    mixture_nk: np.ndarray, loss_n: np.ndarray, penalty: float, rest: float
) -> Predictor:
    predict_log = _ridge(mixture_nk, np.log(loss_n - rest), penalty)
    return lambda mixture_mk: np.asarray(rest + np.exp(predict_log(mixture_mk)))


def _ridge(mixture_nk: np.ndarray, value_n: np.ndarray, penalty: float) -> Predictor:
    """Least squares with an intercept; the penalty in units of the mixtures' mean variance."""
    mean_k, mean = mixture_nk.mean(axis=0), float(value_n.mean())
    centred_nk = mixture_nk - mean_k
    gram_kk = centred_nk.T @ centred_nk / len(value_n)
    ridge = penalty * max(float(gram_kk.trace()) / len(mean_k), 1e-12)
    slope_k = np.linalg.solve(
        gram_kk + ridge * np.eye(len(mean_k)), centred_nk.T @ (value_n - mean) / len(value_n)
    )
    return lambda mixture_mk: np.asarray(mean + (mixture_mk - mean_k) @ slope_k)


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
