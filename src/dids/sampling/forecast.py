"""What a mixture and a budget imply, before the run: passes over each domain, and caps reached.

Axis letters: k domains.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dids.sampling.domain_samples import UNLIMITED, AtEnd, DomainSamples
from dids.sampling.mixture_log import MixtureLog
from dids.sampling.token_unit import Unit, sample_shares


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
    mixture: Sequence[float] | np.ndarray | MixtureLog,
    batch_size: int,
    num_steps: int,
    *,
    unit: Unit = "samples",
    mean_lengths: Sequence[float] | np.ndarray | None = None,
    at_end: Sequence[AtEnd] | None = None,
) -> list[DomainForecast]:
    """Expected draws under a mixture; a domain that runs out gives its share to the others.

    Args:
        sizes: Samples of each domain.
        max_repeats: As for the sampler: 0 is once and no more, None is without limit.
        mixture: Probability of each domain, or several mixtures by step.
        batch_size: Samples in one optimizer step.
        num_steps: Optimizer steps of the run.
        unit: As for the sampler.
        mean_lengths: Mean tokens of each domain's samples, for ``unit="tokens"``.
        at_end: As for the sampler.

    Returns:
        One forecast a domain. Where all domains with weight run out, or one that stops the run, the
        draws sum to less than ``batch_size * num_steps``.

    Raises:
        ValueError: If the mixture is none, there is no such unit, or lengths are missing.

    Example:
        >>> [f.epochs for f in forecast([10, 10], [None, 0], [0.5, 0.5], 4, num_steps=10)]
        [3.0, 1.0]
    """
    if unit not in ("samples", "tokens"):
        raise ValueError(f"unit must be samples or tokens, but it is {unit!r}.")
    mean_length_k = None
    if unit == "tokens":
        if mean_lengths is None:
            raise ValueError("a mixture in tokens needs the domains' mean lengths.")
        mean_length_k = np.asarray(mean_lengths, dtype=np.float64)
    # Where they lie does not matter here.
    domains = DomainSamples(
        [range(size) for size in sizes], 1, max_repeats, at_end or ["renormalise"] * len(sizes)
    )
    log = mixture if isinstance(mixture, MixtureLog) else MixtureLog(mixture)
    return expected_draws(domains, log, batch_size, num_steps, mean_length_k=mean_length_k)


def expected_draws(
    domains: DomainSamples,
    log: MixtureLog,
    batch_size: int,
    num_steps: int,
    *,
    mean_length_k: np.ndarray | None = None,
    drawn_k: np.ndarray | None = None,
    first_step: int = 0,
) -> list[DomainForecast]:
    """What `forecast` gives, of a sampler's own domains and mixtures.

    Args:
        domains: What there is to draw.
        log: The mixtures from ``first_step`` on.
        batch_size: Samples in one optimizer step.
        num_steps: Optimizer steps of the whole run.
        mean_length_k: Mean tokens of samples, where mixtures are shares of tokens.
        drawn_k: Samples drawn before ``first_step``.
        first_step: Step that the forecast begins with.
    """
    num_domains = domains.num_domains
    capacity_k = np.where(domains.capacity_k < UNLIMITED, domains.capacity_k, np.inf)
    given_k = np.zeros(num_domains) if drawn_k is None else drawn_k.astype(np.float64)
    cap_step: list[int | None] = [None] * num_domains
    entries = log.since(first_step).entries
    ends = [*(step for step, _ in entries[1:]), num_steps]
    done, is_over = float(first_step * batch_size), False
    for (_, mixture_k), end in zip(entries, ends, strict=True):
        share_k = mixture_k
        if mean_length_k is not None:
            share_k = sample_shares(mixture_k, np.maximum(mean_length_k, 1.0))
        total = float(min(end, num_steps) * batch_size)
        while done < total and not is_over:
            is_full_k = (share_k > 0) & (given_k >= capacity_k)
            for domain in np.flatnonzero(is_full_k):
                if cap_step[domain] is None:
                    cap_step[domain] = int(done // batch_size)
            rate_k = np.where(is_full_k, 0.0, share_k)
            is_over = bool((is_full_k & domains.stops_k).any()) or not rate_k.any()
            if is_over:
                break
            given_k, num = _until_one_is_full(given_k, capacity_k, rate_k, total - done)
            done += num
    return [
        DomainForecast(
            float(given),
            float(given / size) if size > 0 else 0.0,
            step,
            bool(stops) and step is not None,
        )
        for given, size, step, stops in zip(
            given_k, domains.size_k, cap_step, domains.stops_k, strict=True
        )
    ]


def _until_one_is_full(
    given_k: np.ndarray, capacity_k: np.ndarray, rate_k: np.ndarray, at_most: float
) -> tuple[np.ndarray, float]:
    """Draws at fixed rates until a domain has no more, or so many; and how many they are."""
    rate_k = rate_k / rate_k.sum()
    left_k = np.full(len(rate_k), np.inf)
    np.divide(capacity_k - given_k, rate_k, out=left_k, where=rate_k > 0)
    num = min(at_most, float(left_k.min()))
    # To the last sample, whatever the rounding.
    is_full_k = left_k <= num * (1 + 1e-12)
    return np.where(is_full_k, capacity_k, given_k + rate_k * num), num
