"""Agreement of two groupings of the same samples, whatever their groups are called.

Axes: n samples, a groups of the first, b groups of the second.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer
from scipy.special import gammaln


@dataclass(frozen=True)
class Agreement:
    """How far two groupings are the same."""

    adjusted_rand: float
    mutual_information: float
    """Normalised."""
    num_samples: int
    """Samples that were compared."""


def adjusted_rand_index(
    first_n: Integer[np.ndarray, " n"], second_n: Integer[np.ndarray, " n"]
) -> float:
    """Share of the pairs put together by both, beyond what chance would give (Hubert 1985).

    ``(together − expected) / (mean of both's own pairs − expected)``.

    Args:
        first_n: Group of each sample.
        second_n: Group of each sample.

    Returns:
        1 for the same groups, about 0 for independent ones, at worst −0.5.

    Example:
        >>> adjusted_rand_index(np.array([0, 0, 1, 1]), np.array([5, 5, 3, 3]))
        1.0
    """
    count_ab = _common_samples(first_n, second_n)
    together = _pairs(count_ab)
    first, second = _pairs(count_ab.sum(1)), _pairs(count_ab.sum(0))
    # Two groupings of fewer than two samples have no pair to disagree on.
    expected = first * second / max(_pairs(np.array([len(first_n)])), 1.0)
    largest = (first + second) / 2
    return 1.0 if largest == expected else (together - expected) / (largest - expected)


def normalised_mutual_information(
    first_n: Integer[np.ndarray, " n"], second_n: Integer[np.ndarray, " n"]
) -> float:
    """How much of either grouping the other tells: mutual information over the mean entropy.

    Args:
        first_n: Group of each sample.
        second_n: Group of each sample.

    Returns:
        From 0 to 1. Not adjusted for chance: many small groups agree a little by accident.

    Example:
        >>> normalised_mutual_information(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
        0.0
    """
    count_ab = _common_samples(first_n, second_n)
    first, second = _entropy(count_ab.sum(1)), _entropy(count_ab.sum(0))
    mean = (first + second) / 2
    information = first + second - _entropy(count_ab.ravel())
    return 1.0 if mean == 0 else min(max(information / mean, 0.0), 1.0)


def adjusted_mutual_information(
    first_n: Integer[np.ndarray, " n"], second_n: Integer[np.ndarray, " n"]
) -> float:
    """Mutual information beyond what chance would give (Vinh, Epps, Bailey 2010).

    ``(information − expected) / (mean entropy − expected)``, with the expectation over all ways of
    giving groups of these sizes to the samples.

    Args:
        first_n: Group of each sample.
        second_n: Group of each sample.

    Returns:
        1 for the same groups, about 0 for independent ones, whatever their number.

    Example:
        >>> adjusted_mutual_information(np.array([0, 0, 1, 1]), np.array([5, 5, 3, 3]))
        1.0
    """
    count_ab = _common_samples(first_n, second_n)
    first_a, second_b = count_ab.sum(1), count_ab.sum(0)
    first, second = _entropy(first_a), _entropy(second_b)
    information = first + second - _entropy(count_ab.ravel())
    expected = _expected_information(first_a, second_b)
    largest = (first + second) / 2
    if np.isclose(largest, expected, rtol=1e-12, atol=1e-12):
        return 1.0
    return (information - expected) / (largest - expected)


def _expected_information(
    first_a: Integer[np.ndarray, " a"], second_b: Integer[np.ndarray, " b"]
) -> float:
    """Of independent groupings with groups of these sizes, in nats.

    A cell of two groups has a hypergeometric number of samples.
    """
    num, total = int(first_a.sum()), 0.0
    log_factorial_n = gammaln(np.arange(num + 1) + 1.0)
    for first in first_a.tolist():
        for second in second_b.tolist():
            neither = num - first - second
            low, high = max(1, -neither), min(first, second)
            if high < low:
                continue
            log_c = (
                log_factorial_n[[first, num - first, second, num - second]].sum()
                - log_factorial_n[num]
                - log_factorial_n[low : high + 1]
                - log_factorial_n[first - high : first - low + 1][::-1]
                - log_factorial_n[second - high : second - low + 1][::-1]
                - log_factorial_n[neither + low : neither + high + 1]
            )
            count_c = np.arange(low, high + 1)
            information_c = count_c / num * np.log(num * count_c / (first * second))
            total += float(np.exp(log_c) @ information_c)
    return total


def _common_samples(
    first_n: Integer[np.ndarray, " n"], second_n: Integer[np.ndarray, " n"]
) -> Integer[np.ndarray, "a b"]:
    """Samples that each group of the first shares with each of the second."""
    first_names, first_n = np.unique(first_n, return_inverse=True)
    second_names, second_n = np.unique(second_n, return_inverse=True)
    cell_n = first_n * len(second_names) + second_n
    shape = (len(first_names), len(second_names))
    return np.bincount(cell_n, minlength=shape[0] * shape[1]).reshape(shape)


def _pairs(count_c: Integer[np.ndarray, "..."]) -> float:
    """Pairs inside groups of these sizes; in floats, as a million samples have 5e11."""
    size_c = count_c.astype(np.float64)
    return float((size_c * (size_c - 1)).sum() / 2)


def _entropy(count_c: Integer[np.ndarray, " c"]) -> float:
    """Entropy of a sample's group, in nats."""
    share_c = count_c[count_c > 0] / max(count_c.sum(), 1)
    return float(-(share_c * np.log(share_c)).sum())
