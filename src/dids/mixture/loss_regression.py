"""What a mixture does to the tasks' losses, as trials show it: a regression for every task.

Axis letters: n trials, m mixtures asked for, k domains, t tasks.
"""

import importlib
from collections.abc import Callable, Mapping
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
    if form == "lightgbm":
        of_task = [_lightgbm(mixture_nk, loss_n) for loss_n in loss_nt.T]
    else:
        fit = _linear if form == "linear" else _log_linear
        left_out = {penalty: _left_out_weights(mixture_nk, penalty) for penalty in _PENALTIES}
        of_task = [fit(mixture_nk, loss_n, left_out) for loss_n in loss_nt.T]
    return lambda mixture_mk: np.stack([predict(mixture_mk) for predict in of_task], axis=1)


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


def _linear(
    mixture_nk: np.ndarray, loss_n: np.ndarray, left_out: Mapping[float, np.ndarray]
) -> Predictor:
    def error(penalty: float) -> float:
        return float(((left_out[penalty] @ loss_n - loss_n) ** 2).sum())

    weight_of = _ridge_weights(mixture_nk, min(left_out, key=error))
    return lambda mixture_mk: np.asarray(weight_of(mixture_mk) @ loss_n)


def _log_linear(
    mixture_nk: np.ndarray, loss_n: np.ndarray, left_out: Mapping[float, np.ndarray]
) -> Predictor:
    least = float(loss_n.min())

    def error(share: float, weight_nn: np.ndarray) -> float:
        """Of left-out trials, where c is a share of the least loss."""
        rest = share * least
        return float(((rest + np.exp(weight_nn @ np.log(loss_n - rest)) - loss_n) ** 2).sum())

    found = []
    for penalty, weight_nn in left_out.items():
        best = minimize_scalar(
            error, bounds=(0.0, _MOST_REST), args=(weight_nn,), options={"xatol": 1e-4}
        )
        found.append((float(best.fun), penalty, float(best.x) * least))
    _, penalty, rest = min(found)
    weight_of, log_n = _ridge_weights(mixture_nk, penalty), np.log(loss_n - rest)
    return lambda mixture_mk: np.asarray(rest + np.exp(weight_of(mixture_mk) @ log_n))


def _left_out_weights(mixture_nk: np.ndarray, penalty: float) -> np.ndarray:
    """``prediction = weights @ values`` of every trial by the trials of the other folds.

    Least squares is linear in the values, so one matrix serves all tasks and every c.
    """
    num_trials = len(mixture_nk)
    fold_n = np.arange(num_trials) % min(_FOLDS, num_trials)
    weight_nn = np.zeros((num_trials, num_trials))
    for fold in range(int(fold_n.max()) + 1):
        asked = np.flatnonzero(fold_n == fold)
        known = np.flatnonzero(fold_n != fold) if num_trials > 1 else asked
        weight_of = _ridge_weights(mixture_nk[known], penalty)
        weight_nn[np.ix_(asked, known)] = weight_of(mixture_nk[asked])
    return weight_nn


def _ridge_weights(
    mixture_nk: np.ndarray, penalty: float
) -> Callable[[Float64[np.ndarray, "m k"]], Float64[np.ndarray, "m n"]]:
    """Weights of the trials' values in a prediction: least squares with an intercept.

    The penalty on the slope's square is in units of the mixtures' mean variance.
    """
    num_trials, num_domains = mixture_nk.shape
    mean_k = mixture_nk.mean(axis=0)
    centred_nk = mixture_nk - mean_k
    gram_kk = centred_nk.T @ centred_nk / num_trials
    ridge = penalty * max(float(gram_kk.trace()) / num_domains, 1e-12)
    slope_kn = np.linalg.solve(gram_kk + ridge * np.eye(num_domains), centred_nk.T / num_trials)
    return lambda mixture_mk: np.asarray(1.0 / num_trials + (mixture_mk - mean_k) @ slope_kn)


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
