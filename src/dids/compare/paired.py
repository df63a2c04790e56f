"""Means, spreads and paired intervals over the seeds of a contest.

Axis letters: s seeds.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """A mean over seeds.

    Attributes:
        mean: Over the seeds.
        sd: Standard deviation from seed to seed; None with one seed.
    """

    mean: float
    sd: float | None

    @classmethod
    def over(cls, values_s: Float[np.ndarray, " s"]) -> "Spread":
        """Mean and standard deviation.

        Example:
            >>> Spread.over(np.array([1.0, 3.0]))
            Spread(mean=2.0, sd=1.4142135623730951)
        """
        sd = float(values_s.std(ddof=1)) if len(values_s) > 1 else None
        return cls(float(values_s.mean()), sd)


@dataclass(frozen=True)
class Interval:
    """A mean over paired seeds with its 95 % interval (Student's t).

    Attributes:
        mean: Over the seeds.
        low: Lower end; None with one seed.
        high: Upper end; None with one seed.
    """

    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def is_clear(self) -> bool:
        """Whether zero is outside."""
        return self.low is not None and self.high is not None and self.low * self.high > 0.0

    @classmethod
    def around(cls, mean: float, errors_s: Float[np.ndarray, " s"]) -> "Interval":
        """Around a value whose error is the mean of these.

        Args:
            mean: The value.
            errors_s: What each seed adds to its error, one each.
        """
        num_seeds = len(errors_s)
        if num_seeds < 2:
            return cls(mean)
        quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2.0, num_seeds - 1))
        half = quantile * float(errors_s.std(ddof=1)) / math.sqrt(num_seeds)
        return cls(mean, mean - half, mean + half)


def paired(difference_s: Float[np.ndarray, " s"]) -> Interval:
    """The mean of paired differences.

    Example:
        >>> found = paired(np.array([1.0, 3.0]))
        >>> found.mean, round(found.low, 2), round(found.high, 2)
        (2.0, -10.71, 14.71)
    """
    return Interval.around(float(difference_s.mean()), difference_s)


def paired_ratio(
    numerator_s: Float[np.ndarray, " s"], denominator_s: Float[np.ndarray, " s"]
) -> Interval | None:
    """The ratio of two means over the same seeds; None where the second is not above zero.

    The interval is that of the linearised ratio (delta method), which holds while the denominator
    is clear of zero.

    Example:
        >>> paired_ratio(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
        Interval(mean=0.5, low=0.5, high=0.5)
    """
    denominator = float(denominator_s.mean())
    if denominator <= 0.0:
        return None
    ratio = float(numerator_s.mean()) / denominator
    return Interval.around(ratio, (numerator_s - ratio * denominator_s) / denominator)
