"""A mixture of Gaussians with diagonal covariances, by expectation and maximisation.

Axes: n samples, m rows, k components, r dimensions.
"""

from dataclasses import dataclass

import numpy as np
import scipy.special
from jaxtyping import Float, Float64

from dids.alignment.centres import kmeans_centres

_ITERATIONS = 100
_LEAST_GAIN = 1e-5
"""Nats a sample: fewer are no reason to go on."""
_FLOOR = 1e-3
"""Least variance, as a fraction of the samples' along the same axis."""


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """Weights, means and variances."""

    weight_k: Float64[np.ndarray, " k"]
    mean_kr: Float64[np.ndarray, "k r"]
    variance_kr: Float64[np.ndarray, "k r"]

    @classmethod
    def fit(
        cls, place_nr: Float[np.ndarray, "n r"], num_components: int, seed: int
    ) -> "GaussianMixture":
        """From centres of k-means uphill.

        Args:
            place_nr: Samples, in an order that is always the same.
            num_components: How many, at most.
            seed: Of the start.
        """
        place_nr = place_nr.astype(np.float64)
        floor_r = _FLOOR * place_nr.var(0) + np.finfo(np.float64).tiny
        mean_kr = kmeans_centres(place_nr, num_components, seed).astype(np.float64)
        distance_nk = np.square(mean_kr).sum(1) - 2 * place_nr @ mean_kr.T  # less each |place|²
        share_nk = np.eye(len(mean_kr))[distance_nk.argmin(1)]
        before = -np.inf
        for _ in range(_ITERATIONS):
            mixture = cls._maximised(place_nr, share_nk, floor_r)
            logarithm_nk = mixture._log_joint(place_nr)
            likelihood = float(scipy.special.logsumexp(logarithm_nk, axis=1).mean())
            share_nk = scipy.special.softmax(logarithm_nk, axis=1)
            if likelihood - before < _LEAST_GAIN:
                break
            before = likelihood
        return mixture

    @classmethod
    def _maximised(
        cls,
        place_nr: Float64[np.ndarray, "n r"],
        share_nk: Float64[np.ndarray, "n k"],
        floor_r: Float64[np.ndarray, " r"],
    ) -> "GaussianMixture":
        size_k = share_nk.sum(0) + np.finfo(np.float64).tiny
        mean_kr = share_nk.T @ place_nr / size_k[:, None]
        square_kr = share_nk.T @ np.square(place_nr) / size_k[:, None]
        variance_kr = np.maximum(square_kr - np.square(mean_kr), floor_r)
        return cls(size_k / size_k.sum(), mean_kr, variance_kr)

    def posterior(self, place_mr: Float[np.ndarray, "m r"]) -> Float64[np.ndarray, "m k"]:
        """Probability of every component, given a place."""
        posterior_mk: np.ndarray = scipy.special.softmax(self._log_joint(place_mr), axis=1)
        return posterior_mk

    def log_density(self, place_mr: Float[np.ndarray, "m r"]) -> Float64[np.ndarray, " m"]:
        """Logarithm of the density, in nats."""
        density_m: np.ndarray = scipy.special.logsumexp(self._log_joint(place_mr), axis=1)
        return density_m

    def information_criterion(self, place_nr: Float[np.ndarray, "n r"]) -> float:
        """Bayes's (BIC): the lower, the better so many components are paid for."""
        num, parameters = len(place_nr), self.mean_kr.size + self.variance_kr.size
        parameters += len(self.weight_k) - 1
        return parameters * float(np.log(num)) - 2 * float(self.log_density(place_nr).sum())

    def _log_joint(self, place_mr: Float[np.ndarray, "m r"]) -> Float64[np.ndarray, "m k"]:
        precision_kr = 1.0 / self.variance_kr
        # Written out, so that no array has the three axes m, k and r.
        square_mk = (
            np.square(place_mr.astype(np.float64)) @ precision_kr.T
            - 2 * place_mr @ (self.mean_kr * precision_kr).T
            + (np.square(self.mean_kr) * precision_kr).sum(1)
        )
        constant_k = np.log(2 * np.pi * self.variance_kr).sum(1)
        tiny = np.finfo(np.float64).tiny
        return np.asarray(np.log(self.weight_k + tiny) - 0.5 * (square_mk + constant_k))
