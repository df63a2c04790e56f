"""Mixtures drawn at random around another one.

Axis letters: n mixtures, k domains.
"""

import numpy as np
from jaxtyping import Float64

from dids.mixture.limits import MixtureLimits

_STRENGTHS = 15
_TRIES = 100


def dirichlet_mixtures(
    prior_k: Float64[np.ndarray, " k"],
    num_mixtures: int,
    rng: np.random.Generator,
    *,
    strengths: tuple[float, float],
    temperature: float = 1.0,
    most_times_prior: float = np.inf,
) -> Float64[np.ndarray, "n k"]:
    """Draws from Dirichlet distributions around a prior, some near to it and some at the corners.

    ``p ~ Dirichlet(strength * prior ** temperature / sum)``, where every draw takes one of 15
    strengths that are spread evenly on a logarithmic scale; a draw in which a domain has more than
    so many times its prior is drawn again. This is the scheme of RegMix's released code
    (``mixture_config/synthesize_mixture.py``).

    Args:
        prior_k: The mixture in the middle.
        num_mixtures: How many.
        rng: What is drawn from.
        strengths: Smallest and largest: small ones give most weight to few domains.
        temperature: Below 1 the middle is flatter than the prior.
        most_times_prior: What a domain may have, in times of its prior; a draw that still breaks
            it after 100 tries is taken.
    """
    middle_k = prior_k**temperature
    middle_k = middle_k / middle_k.sum()
    ladder = np.geomspace(*strengths, _STRENGTHS)
    most_k = np.minimum(1.0, most_times_prior * prior_k)
    return np.stack(
        [_one_within(ladder, middle_k, most_k, rng) for _ in range(num_mixtures)]
        or [np.zeros((0, len(prior_k)))]
    ).reshape(num_mixtures, len(prior_k))


def _one_within(
    ladder: np.ndarray, middle_k: np.ndarray, most_k: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    drawn_k = middle_k
    for _ in range(_TRIES):
        drawn_k = dirichlet(rng.choice(ladder) * middle_k, 1, rng)[0]
        if (drawn_k <= most_k).all():
            break
    return drawn_k


def dirichlet(
    alpha_k: Float64[np.ndarray, " k"], num_mixtures: int, rng: np.random.Generator
) -> Float64[np.ndarray, "n k"]:
    """Draws from one Dirichlet distribution, in logarithms: tiny alphas do not underflow.

    ``Gamma(a)`` is ``Gamma(a + 1) * U^(1/a)`` (Marsaglia & Tsang 2000, ACM TOMS 26, section 6).
    Domains with an alpha of zero get nothing.
    """
    shape = (num_mixtures, len(alpha_k))
    is_there_k = alpha_k > 0
    safe_k = np.where(is_there_k, alpha_k, 1.0)
    uniform_nk = rng.uniform(np.finfo(np.float64).tiny, 1.0, shape)
    log_nk = np.log(rng.gamma(safe_k + 1.0, 1.0, shape)) + np.log(uniform_nk) / safe_k
    log_nk = np.where(is_there_k, log_nk, -np.inf)
    weight_nk = np.exp(log_nk - log_nk.max(axis=1, keepdims=True))
    return np.asarray(weight_nk / weight_nk.sum(axis=1, keepdims=True))


def above_floors(
    mixture_nk: Float64[np.ndarray, "n k"], limits: MixtureLimits
) -> Float64[np.ndarray, "n k"]:
    """Mixtures of what the domains' floors leave free: ``floor + (1 - sum floors) * p``."""
    return np.asarray(limits.lower_k + (1.0 - limits.lower_k.sum()) * mixture_nk)
