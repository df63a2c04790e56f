"""What each task asks of the domains, as votes of one size, averaged over rounds with their error.

How strongly a task's own step aligns with the domains' steps depends on how noisily both were
measured and on how far training is: at the start everything aligns, later next to nothing does, and
a task of one-token answers aligns with anything, this way in one round and that way in the next.
Which domain a task prefers to which others is what lasts. So every measurement is brought to one
size, and of its average only as much is believed as rounds agree on.

Axis letters: k domains, t tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

# A single measurement is taken to be half noise, and that counts as much as two rounds seen.
_ASSUMED_NOISE = 0.5
_ASSUMED_ROUNDS = 2.0


@dataclass(frozen=True)
class Votes:
    """The average of the rounds so far, later rounds counting for more.

    Attributes:
        mean_kt: Averaged votes; each round's have a mean square of 1 over the domains.
        scatter_t: Averaged squared deviation of the rounds' votes from the average of the rounds
            before, mean over domains; weights as for ``mean_kt``.
        weight: Sum of the rounds' weights, the last counting 1.
        square_weight: Sum of their squares.
    """

    mean_kt: Float64[np.ndarray, "k t"]
    scatter_t: Float64[np.ndarray, " t"]
    weight: float
    square_weight: float

    @classmethod
    def none(cls, num_domains: int, num_tasks: int) -> "Votes":
        """Before the first round."""
        return cls(np.zeros((num_domains, num_tasks)), np.zeros(num_tasks), 0.0, 0.0)

    def after(self, kernel_kt: Float64[np.ndarray, "k t"], decay: float) -> "Votes":
        """With one more round.

        Args:
            kernel_kt: How far each domain's step goes each task's way, in any unit of the task's.
            decay: How much less every earlier round counts from now on, from 0 to below 1.
        """
        size_t = np.sqrt(np.mean(kernel_kt**2, axis=0))
        vote_kt = np.zeros_like(kernel_kt)
        np.divide(kernel_kt, size_t, out=vote_kt, where=size_t > 0)
        weight, square_weight = decay * self.weight + 1.0, decay**2 * self.square_weight + 1.0
        step_kt = vote_kt - self.mean_kt
        mean_kt = self.mean_kt + step_kt / weight
        # West 1979: the weighted sum of squared deviations, without the rounds themselves.
        scatter_t = decay * self.scatter_t + np.mean(step_kt * (vote_kt - mean_kt), axis=0)
        return Votes(mean_kt, scatter_t, weight, square_weight)

    @property
    def noise_t(self) -> Float64[np.ndarray, " t"]:
        """Variance of each task's averaged votes, mean over domains."""
        freedom = self.weight - self.square_weight / self.weight
        assumed = _ASSUMED_ROUNDS * _ASSUMED_NOISE
        variance_t = (assumed + self.scatter_t) / (_ASSUMED_ROUNDS + freedom)
        return np.asarray(variance_t * self.square_weight / self.weight**2)

    @property
    def reliability_t(self) -> Float64[np.ndarray, " t"]:
        """How much of each task's averaged votes is no noise, from 0 to 1."""
        square_t = np.mean(self.mean_kt**2, axis=0)
        share_t = np.ones_like(square_t)
        np.divide(self.noise_t, square_t, out=share_t, where=square_t > 0)
        return np.asarray(np.clip(1.0 - share_t, 0.0, 1.0))

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and lists."""
        return {
            "mean_kt": self.mean_kt.tolist(),
            "scatter_t": self.scatter_t.tolist(),
            "weight": self.weight,
            "square_weight": self.square_weight,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "Votes":
        """What ``to_json`` wrote, to the last bit."""
        return cls(
            np.array(state["mean_kt"], dtype=np.float64),
            np.array(state["scatter_t"], dtype=np.float64),
            float(state["weight"]),
            float(state["square_weight"]),
        )
