"""What a mixture and a budget imply, before the run: passes over each domain, and caps reached.

Axis letters: k domains.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dids.sampling.domain_samples import AtEnd
from dids.sampling.mixture_log import checked_mixture
from dids.sampling.sampler import Unit
from dids.sampling.token_unit import sample_shares


@dataclass(frozen=True)
class DomainForecast:
    """What a domain will give."""

    samples: float
    epochs: float
    cap_reached_at_step: int | None
    """First step that the domain cannot serve in full; None if it lasts."""
    ends_run: bool = False
    """Whether the run ends there."""

    def sentence(self, name: str) -> str:
        """The forecast in words.

        Example:
            >>> DomainForecast(2540.0, 3.4, 8100).sentence("gsm8k")
            'gsm8k: 3.4 epochs, cap reached at step 8,100'
        """
        words = f"{name}: {self.epochs:.1f} epochs"
        if self.cap_reached_at_step is None:
            return words
        end = ", which ends the run" if self.ends_run else ""
        return f"{words}, cap reached at step {self.cap_reached_at_step:,}{end}"


def forecast(
    sizes: Sequence[int] | np.ndarray,
    max_repeats: Sequence[int | None],
    mixture: Sequence[float] | np.ndarray,
    batch_size: int,
    num_steps: int,
    *,
    unit: Unit = "samples",
    mean_lengths: Sequence[float] | np.ndarray | None = None,
    at_end: Sequence[AtEnd] | None = None,
) -> list[DomainForecast]:
    """Expected draws under a fixed mixture; a domain that runs out gives its share to the others.

    Args:
        sizes: Samples of each domain.
        max_repeats: As for the sampler: 0 is once and no more, None is without limit.
        mixture: Probability of each domain.
        batch_size: Samples in one optimizer step.
        num_steps: Optimizer steps of the run.
        unit: As for the sampler.
        mean_lengths: Mean tokens of each domain's samples, for ``unit="tokens"``.
        at_end: As for the sampler.

    Returns:
        One forecast a domain. Where all domains with weight run out, or one that stops the run, the
        draws sum to less than ``batch_size * num_steps``.

    Raises:
        ValueError: If the mixture is none, or lengths are missing.

    Example:
        >>> [f.epochs for f in forecast([10, 10], [None, 0], [0.5, 0.5], 4, num_steps=10)]
        [3.0, 1.0]
    """
    share_k = checked_mixture(mixture)
    if unit == "tokens":
        if mean_lengths is None:
            raise ValueError("a mixture in tokens needs the domains' mean lengths.")
        share_k = sample_shares(share_k, np.asarray(mean_lengths, dtype=np.float64))
    capacity_k = np.array(
        [
            np.inf if repeats is None and size > 0 else float(size) * (1 + (repeats or 0))
            for size, repeats in zip(sizes, max_repeats, strict=True)
        ]
    )
    stops_k = np.array([end == "stop" for end in at_end or ["renormalise"] * len(share_k)])
    drawn_k = np.zeros(len(share_k))
    cap_step: list[int | None] = [None] * len(share_k)
    total, done = float(batch_size * num_steps), 0.0
    is_active_k = (share_k > 0) & (capacity_k > 0)
    is_over = bool((stops_k & (share_k > 0) & ~is_active_k).any())
    while is_active_k.any() and done < total and not is_over:
        rate_k = np.where(is_active_k, share_k, 0.0) / share_k[is_active_k].sum()
        until_k = np.full(len(share_k), np.inf)
        until_k[is_active_k] = (capacity_k - drawn_k)[is_active_k] / rate_k[is_active_k]
        stretch = min(total - done, float(until_k.min()))
        drawn_k += rate_k * stretch
        done += stretch
        for domain in np.flatnonzero(until_k <= stretch * (1 + 1e-12)):
            drawn_k[domain] = capacity_k[domain]
            is_active_k[domain] = False
            if done < total:
                cap_step[domain] = int(done // batch_size)
                is_over |= bool(stops_k[domain])
    return [
        DomainForecast(
            float(drawn),
            float(drawn / size) if size > 0 else 0.0,
            step,
            bool(stops) and step is not None,
        )
        for drawn, size, step, stops in zip(drawn_k, sizes, cap_step, stops_k, strict=True)
    ]
