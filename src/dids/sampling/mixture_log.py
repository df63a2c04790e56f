"""Mixtures and the steps from which they hold: an append-only list, kept as JSON.

Axis letters: k domains.
"""

import bisect
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dids.sampling.short_numbers import exact_floats, short_floats

# JSON keeps floats exactly, but people write 0.33, 0.33, 0.34 and solvers stop at 1e-8.
_SUM_TOLERANCE = 1e-6


def checked_mixture(probabilities: Sequence[float] | np.ndarray) -> Float64[np.ndarray, " k"]:
    """The mixture as float64, summing to one.

    Args:
        probabilities: One for each domain.

    Returns:
        A fresh array; the rounding of the sum is divided out.

    Raises:
        ValueError: If one is negative or no number, or if they do not sum to 1.
    """
    mixture_k = np.array(probabilities, dtype=np.float64)
    if not np.isfinite(mixture_k).all() or (mixture_k < 0).any():
        worst = int(np.flatnonzero(~np.isfinite(mixture_k) | (mixture_k < 0))[0])
        raise ValueError(
            f"probabilities must be zero or more, but number {worst} is {mixture_k[worst]}."
        )
    total = float(mixture_k.sum())
    if abs(total - 1.0) > _SUM_TOLERANCE:
        raise ValueError(f"probabilities must sum to 1, but they sum to {total}.")
    return mixture_k if total == 1.0 else mixture_k / total


class MixtureLog:
    """Mixtures by the step from which they hold.

    Args:
        mixture: What holds from the start.
        start_step: The first step that the log tells of.

    Example:
        >>> log = MixtureLog([0.5, 0.5])
        >>> log.append(10, [0.9, 0.1])
        >>> log.mixture(9), log.mixture(10)
        (array([0.5, 0.5]), array([0.9, 0.1]))
    """

    def __init__(self, mixture: Sequence[float] | np.ndarray, start_step: int = 0) -> None:
        self._start_steps: list[int] = [start_step]
        self._mixtures: list[np.ndarray] = [checked_mixture(mixture)]

    @property
    def num_domains(self) -> int:
        """Length of every mixture."""
        return len(self._mixtures[0])

    @property
    def entries(self) -> list[tuple[int, np.ndarray]]:
        """Start steps and mixtures, in the order in which they were added."""
        return [
            (step, mixture.copy())
            for step, mixture in zip(self._start_steps, self._mixtures, strict=True)
        ]

    def append(self, start_step: int, mixture: Sequence[float] | np.ndarray) -> None:
        """Add a mixture that holds from ``start_step`` on; of two for one step the later one holds.

        Raises:
            ValueError: If the step comes before the last entry's, or the mixture has another
                length.
        """
        mixture_k = checked_mixture(mixture)
        if start_step < self._start_steps[-1]:
            raise ValueError(
                f"a mixture from step {self._start_steps[-1]} is in the log already, "
                f"so the next one cannot start at step {start_step}."
            )
        if len(mixture_k) != self.num_domains:
            raise ValueError(
                f"the mixture must have {self.num_domains} probabilities, not {len(mixture_k)}."
            )
        self._start_steps.append(start_step)
        self._mixtures.append(mixture_k)

    def mixture(self, step: int) -> Float64[np.ndarray, " k"]:
        """The mixture that holds at ``step``.

        Raises:
            ValueError: If the log begins later.
        """
        return self._mixtures[self._entry(step)]

    def num_steps_alike(self, step: int, at_most: int) -> int:
        """How many steps from ``step`` on have its mixture."""
        after = self._entry(step) + 1
        if after == len(self._start_steps):
            return at_most
        return min(at_most, self._start_steps[after] - step)

    def since(self, step: int) -> "MixtureLog":
        """What holds at ``step`` and after it; nothing of what held before."""
        first = self._entry(step)
        log = MixtureLog(self._mixtures[first], self._start_steps[first])
        log._start_steps, log._mixtures = self._start_steps[first:], self._mixtures[first:]
        return log

    def _entry(self, step: int) -> int:
        entry = bisect.bisect_right(self._start_steps, step) - 1
        if entry < 0:
            raise ValueError(
                f"the mixture of step {step} is not known; the log begins with step "
                f"{self._start_steps[0]}."
            )
        return entry

    def steps_asked(self, step: int) -> Float64[np.ndarray, " k"]:
        """Sum of the mixtures of the steps before ``step`` that the log tells of."""
        ends = [*self._start_steps[1:], step]
        asked_k = np.zeros(self.num_domains)
        for start, end, mixture_k in zip(self._start_steps, ends, self._mixtures, strict=True):
            asked_k += max(0, min(end, step) - start) * mixture_k
        return asked_k

    def to_json(self) -> list[Any]:
        """Entries as pairs of start step and probabilities, the shorter of numbers and base64."""
        return [
            [step, short_floats(mixture_k)]
            for step, mixture_k in zip(self._start_steps, self._mixtures, strict=True)
        ]

    @classmethod
    def from_json(cls, entries: list[Any]) -> "MixtureLog":
        """The log that ``to_json`` wrote, to the last bit.

        Entries may also be objects with ``start_step`` and ``probabilities``, as they once were.
        """
        if not entries:
            raise ValueError("a mixture log must have an entry.")
        pairs = [
            (entry["start_step"], entry["probabilities"]) if isinstance(entry, dict) else entry
            for entry in entries
        ]
        mixtures = [exact_floats(saved) for _, saved in pairs]
        log = cls(mixtures[0], pairs[0][0])
        for (start_step, _), mixture_k in zip(pairs[1:], mixtures[1:], strict=True):
            log.append(start_step, mixture_k)
        # Dividing by the sum once more could move the last bit, and with it a resumed run.
        log._mixtures = mixtures
        return log
