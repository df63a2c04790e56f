"""What each task asks of the domains, as votes of one size, averaged over rounds with their error.

How strongly a task's own step aligns with the domains' steps depends on how noisily both were
measured and on how far training is: at the start everything aligns, later next to nothing does, and
a task of one-token answers aligns with anything, this way in one round and that way in the next.
Which domain a task prefers to which others is what lasts. So every measurement is brought to one
size, and of its average only as much is believed as rounds agree on. How far samples of one round
differ (`ImpactMatrices.error_kt`) says how much of a task's votes is noise: a measurement of many
samples, as the proxy's before training, counts for more than one of few.

Axis letters: k domains, t tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64

# Variance of a vote round that which is to be known, however many samples it is of: models and
# rounds differ. It counts as much as two rounds seen.
_ASSUMED_NOISE = 0.5
_ASSUMED_ROUNDS = 2.0
# So much of a vote's square is signal at least: few samples do not say well how noisy they are.
_LEAST_SIGNAL = 0.1


@dataclass(frozen=True)
class Votes:
    """The average of the rounds so far: later rounds count for more, and so do less noisy ones.

    Attributes:
        average_kt: Averaged votes, each round's over the root of the part of it that is signal.
        scatter_kt: Weighted sum of the rounds' squared deviations from it; its expectation is 1 a
            round where they deviate as foreseen.
        rounds: Sum of the rounds' weights by age, the last counting 1.
        weight_t: Sum of the rounds' weights, each by its age over its variance.
        square_weight_t: The same with the square of the weight by age.
    """

    average_kt: Float64[np.ndarray, "k t"]
    scatter_kt: Float64[np.ndarray, "k t"]
    rounds: float
    weight_t: Float64[np.ndarray, " t"]
    square_weight_t: Float64[np.ndarray, " t"]

    @classmethod
    def none(cls, num_domains: int, num_tasks: int) -> "Votes":
        """Before the first round."""
        zero_kt, zero_t = np.zeros((num_domains, num_tasks)), np.zeros(num_tasks)
        return cls(zero_kt, zero_kt, 0.0, zero_t, zero_t)

    def after(
        self,
        kernel_kt: Float64[np.ndarray, "k t"],
        decay: float,
        error_kt: Float64[np.ndarray, "k t"] | None = None,
        num_samples_t: Float64[np.ndarray, " t"] | None = None,
    ) -> "Votes":
        """With one more round.

        A round's votes ``v`` have a mean square of 1 over the domains. Where a part ``r`` of it is
        sampling noise, ``v / sqrt(1 - r)`` stands for what is to be known with a variance of
        ``1/2 + r / (1 - r)``, and weighs by the inverse of that.

        Args:
            kernel_kt: How far each domain's step goes each task's way, in any unit of the task's.
            decay: How much less every earlier round counts from now on, from 0 to below 1.
            error_kt: Standard error of the kernel, infinite where it is not known. None: nowhere.
            num_samples_t: Samples that this error is estimated from. Few of them miss the rare long
                gradient; what is not known of the error is added as in Student's t distribution,
                ``(n - 1) / (n - 3)`` times the square. None: many.
        """
        square_t = np.mean(kernel_kt**2, axis=0)
        noise_t = np.zeros_like(square_t)
        if error_kt is not None:
            is_known_kt = np.isfinite(error_kt)
            error_square_t = np.where(is_known_kt, error_kt, 0.0) ** 2
            known_t = np.maximum(is_known_kt.sum(axis=0), 1) * square_t
            np.divide(error_square_t.sum(axis=0), known_t, out=noise_t, where=known_t > 0)
            if num_samples_t is not None:
                noise_t *= 1.0 + 2.0 / np.maximum(num_samples_t - 3.0, 1.0)
        signal_t = np.maximum(1.0 - noise_t, _LEAST_SIGNAL)
        vote_kt = np.zeros_like(kernel_kt)
        np.divide(kernel_kt, np.sqrt(square_t * signal_t), out=vote_kt, where=square_t > 0)
        weight_t = 1.0 / (_ASSUMED_NOISE + (1.0 - signal_t) / signal_t)
        all_weight_t = decay * self.weight_t + weight_t
        step_kt = vote_kt - self.average_kt
        average_kt = self.average_kt + step_kt * weight_t / all_weight_t
        # West 1979: the weighted sum of squared deviations, without keeping the rounds.
        added_kt = weight_t * step_kt * (vote_kt - average_kt)
        return Votes(
            average_kt,
            decay * self.scatter_kt + added_kt,
            decay * self.rounds + 1.0,
            all_weight_t,
            decay**2 * self.square_weight_t + weight_t,
        )

    @property
    def mean_kt(self) -> Float64[np.ndarray, "k t"]:
        """The averaged votes, of a mean square of 1 over the domains at most."""
        return np.asarray(self.average_kt / self._size_t)

    @property
    def noise_kt(self) -> Float64[np.ndarray, "k t"]:
        """Variance of ``mean_kt``.

        A few rounds say little of how much one vote scatters; all votes of a task say more, so each
        is held to their mean, and that to what the rounds' samples say before anything is seen.
        """
        freedom_t = self.rounds - self.square_weight_t / self.weight_t

        def posterior(scatter: np.ndarray, assumed: np.ndarray | float) -> np.ndarray:
            return np.asarray((_ASSUMED_ROUNDS * assumed + scatter) / (_ASSUMED_ROUNDS + freedom_t))

        excess_t = posterior(np.mean(self.scatter_kt, axis=0), 1.0)
        excess_kt = posterior(self.scatter_kt, excess_t)
        variance_t = self.square_weight_t / self.weight_t**2
        return np.asarray(excess_kt * variance_t / self._size_t**2)

    @property
    def _size_t(self) -> Float64[np.ndarray, " t"]:
        """What brings the average to one size: noise makes it longer than the signal is."""
        return np.asarray(np.maximum(1.0, np.sqrt(np.mean(self.average_kt**2, axis=0))))

    def beyond_doubt(self, caution: float) -> Float64[np.ndarray, "k t"]:
        """The averaged votes, nearer to zero by ``caution`` standard errors, never across it."""
        doubt_kt = caution * np.sqrt(self.noise_kt)
        return np.asarray(np.sign(self.mean_kt) * np.maximum(np.abs(self.mean_kt) - doubt_kt, 0.0))

    def regrouped(self, origin_kj: Float64[np.ndarray, "k j"]) -> "Votes":
        """The votes on other domains: a part has the whole's, a whole the mean of its parts'.

        A domain of new samples has none for or against it, and rounds are taken to have disagreed
        on it as on the others.

        Args:
            origin_kj: Part of each domain of now that comes from each domain of before.
        """
        if len(self.average_kt) == 0:
            return self
        scatter_kt = origin_kj**2 @ self.scatter_kt
        scatter_kt[~origin_kj.any(axis=1)] = self.scatter_kt.mean(axis=0)
        return replace(self, average_kt=origin_kj @ self.average_kt, scatter_kt=scatter_kt)

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and lists."""
        return {
            "average_kt": self.average_kt.tolist(),
            "scatter_kt": self.scatter_kt.tolist(),
            "rounds": self.rounds,
            "weight_t": self.weight_t.tolist(),
            "square_weight_t": self.square_weight_t.tolist(),
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "Votes":
        """What ``to_json`` wrote, to the last bit."""
        return cls(
            np.array(state["average_kt"], dtype=np.float64),
            np.array(state["scatter_kt"], dtype=np.float64),
            float(state["rounds"]),
            np.array(state["weight_t"], dtype=np.float64),
            np.array(state["square_weight_t"], dtype=np.float64),
        )
