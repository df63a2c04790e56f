"""What each task asks of the domains, as votes of one size, averaged over rounds with their error.

How strongly a task's own step aligns with the domains' steps depends on how noisily both were
measured and on how far training is: at the start everything aligns, later next to nothing does, and
a task of one-token answers aligns with anything, this way in one round and that way in the next.
Which domain a task prefers to which others is what lasts. So every measurement is brought to one
size, and of its average only as much is believed as rounds agree on. How far samples of one round
differ (`ImpactMatrices.error_kt`) says how noisy a task's votes are before rounds can.

Axis letters: k domains, t tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64

# A single measurement of which nothing else is known is taken to be half noise, and what is known
# or taken of it counts as much as two rounds seen.
_ASSUMED_NOISE = 0.5
_ASSUMED_ROUNDS = 2.0


@dataclass(frozen=True)
class Votes:
    """The average of the rounds so far, later rounds counting for more.

    Attributes:
        mean_kt: Averaged votes; each round's have a mean square of 1 over the domains.
        scatter_kt: Weighted sum of the rounds' squared deviations from it.
        weight: Sum of the rounds' weights, the last counting 1.
        square_weight: Sum of their squares.
        sampling_t: Averaged variance of one round's votes, as its samples say.
    """

    mean_kt: Float64[np.ndarray, "k t"]
    scatter_kt: Float64[np.ndarray, "k t"]
    weight: float
    square_weight: float
    sampling_t: Float64[np.ndarray, " t"]

    @classmethod
    def none(cls, num_domains: int, num_tasks: int) -> "Votes":
        """Before the first round."""
        zero_kt = np.zeros((num_domains, num_tasks))
        return cls(zero_kt, zero_kt, 0.0, 0.0, np.zeros(num_tasks))

    def after(
        self,
        kernel_kt: Float64[np.ndarray, "k t"],
        decay: float,
        error_kt: Float64[np.ndarray, "k t"] | None = None,
    ) -> "Votes":
        """With one more round.

        Args:
            kernel_kt: How far each domain's step goes each task's way, in any unit of the task's.
            decay: How much less every earlier round counts from now on, from 0 to below 1.
            error_kt: Standard error of the kernel, infinite where it is not known. None: nowhere.
        """
        size_t = np.sqrt(np.mean(kernel_kt**2, axis=0))
        vote_kt = np.zeros_like(kernel_kt)
        np.divide(kernel_kt, size_t, out=vote_kt, where=size_t > 0)
        sampling_kt = np.full_like(kernel_kt, _ASSUMED_NOISE)
        if error_kt is not None:
            is_known_kt = np.isfinite(error_kt) & (size_t > 0)
            np.divide(error_kt**2, size_t**2, out=sampling_kt, where=is_known_kt)
        weight, square_weight = decay * self.weight + 1.0, decay**2 * self.square_weight + 1.0
        step_kt = vote_kt - self.mean_kt
        mean_kt = self.mean_kt + step_kt / weight
        # West 1979: the weighted sum of squared deviations, without keeping the rounds.
        scatter_kt = decay * self.scatter_kt + step_kt * (vote_kt - mean_kt)
        sampling_t = self.sampling_t + (sampling_kt.mean(axis=0) - self.sampling_t) / weight
        return Votes(mean_kt, scatter_kt, weight, square_weight, sampling_t)

    @property
    def noise_kt(self) -> Float64[np.ndarray, "k t"]:
        """Variance of the averaged votes.

        A few rounds say little of how much one vote scatters; all votes of a task say more, so each
        is held to their mean, and that to what the rounds' samples say before anything is seen.
        """
        freedom = self.weight - self.square_weight / self.weight

        def posterior(scatter: np.ndarray, assumed: np.ndarray | float) -> np.ndarray:
            return np.asarray((_ASSUMED_ROUNDS * assumed + scatter) / (_ASSUMED_ROUNDS + freedom))

        # Not below what is assumed, since few samples miss the rare long gradient; not above the
        # votes' own mean square.
        sampling_t = np.clip(self.sampling_t, _ASSUMED_NOISE, 1.0)
        variance_t = posterior(np.mean(self.scatter_kt, axis=0), sampling_t)
        variance_kt = posterior(self.scatter_kt, variance_t)
        return np.asarray(variance_kt * self.square_weight / self.weight**2)

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
        if len(self.mean_kt) == 0:
            return self
        scatter_kt = origin_kj**2 @ self.scatter_kt
        scatter_kt[~origin_kj.any(axis=1)] = self.scatter_kt.mean(axis=0)
        return replace(self, mean_kt=origin_kj @ self.mean_kt, scatter_kt=scatter_kt)

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and lists."""
        return {
            "mean_kt": self.mean_kt.tolist(),
            "scatter_kt": self.scatter_kt.tolist(),
            "weight": self.weight,
            "square_weight": self.square_weight,
            "sampling_t": self.sampling_t.tolist(),
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "Votes":
        """What ``to_json`` wrote, to the last bit."""
        return cls(
            np.array(state["mean_kt"], dtype=np.float64),
            np.array(state["scatter_kt"], dtype=np.float64),
            float(state["weight"]),
            float(state["square_weight"]),
            np.array(state["sampling_t"], dtype=np.float64),
        )
