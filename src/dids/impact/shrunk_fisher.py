"""Diagonal Fisher information of a few samples, with what all tasks have in common to lean on.

Squares of four samples' gradients say little of a single entry. Which entries a task's loss is
sensitive to is mostly the same for all tasks: those of frequent tokens, of the last layers. So the
estimate of a task is drawn to the mean over tasks, the more the fewer samples it is of: an
empirical Bayes estimate (Efron & Morris 1973, Journal of the American Statistical Association 68).

Axis letters: t tasks, p parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

PRIOR_SAMPLES = 16
"""That what tasks have in common counts as many samples of a task as. Votes of four samples (0.7 M
parameters, 24 domains, eight tasks) correlated with those of a hundred by 0.48 without it, 0.50
with 4, 0.52 with 16, and by 0.53 with nothing of the task's own; averages of five by 0.66, 0.69,
0.70, 0.70."""


@dataclass(frozen=True, eq=False)
class ShrunkFisher:
    """Diagonal Fisher information of every task.

    Attributes:
        square_t: The estimates.
        own_t: What a task's own samples have of its estimate, from 0 to 1.
    """

    square_t: list[Float[Tensor, " p"]]
    own_t: list[float]

    @classmethod
    def of(
        cls, square_t: Sequence[Float[Tensor, " p"]], num_samples_t: Sequence[int]
    ) -> "ShrunkFisher":
        """``(n_t F_t + c m_t C) / (n_t + c)``, C the mean of ``F_s / m_s`` and m_t that of F_t.

        A task alone is left as it is, and one whose gradients are c times as long has c² times the
        information, as without.

        Args:
            square_t: Means of the squared gradients of every task's samples, F.
            num_samples_t: How many, n.

        Example:
            >>> import torch
            >>> squares = [torch.tensor([3.0, 1.0]), torch.tensor([10.0, 30.0])]
            >>> ShrunkFisher.of(squares, [16, 16]).square_t
            [tensor([2.5000, 1.5000]), tensor([15., 25.])]
        """
        mean_t = [square_p.mean() for square_p in square_t]
        relative = [
            square_p / mean
            for square_p, mean in zip(square_t, mean_t, strict=True)
            if float(mean) > 0.0
        ]
        if len(relative) < 2:
            return cls(list(square_t), [1.0] * len(square_t))
        common_p = sum(relative[1:], start=relative[0]) / len(relative)
        shrunk, own_t = [], []
        for square_p, mean, num_samples in zip(square_t, mean_t, num_samples_t, strict=True):
            share = num_samples / (num_samples + PRIOR_SAMPLES)
            shrunk.append(share * square_p + (1.0 - share) * mean * common_p)
            own_t.append(share + (1.0 - share) / len(relative))
        return cls(shrunk, own_t)
