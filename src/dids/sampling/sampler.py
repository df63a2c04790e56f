"""The sampler: the samples of an optimizer step as a pure function of seed, step and mixture log.

Nothing is drawn from a generator with a state. A step's counts follow from the credits of the step
before (`counts`), the samples from their domains' permutations (`permutation`), so any step can be
planned again from step 0 or from a saved step, whatever the number of workers or ranks.

Axis letters: k domains, n samples of the data set, b samples of one step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Integer

from dids.errors import InputError
from dids.sampling.counts import step_counts
from dids.sampling.mixture_log import MixtureLog
from dids.sampling.permutation import permuted
from dids.sampling.random_bits import random_bits

# Steps that stay in memory. Loaders read tens of steps ahead of the step that a checkpoint asks
# for.
_WINDOW_STEPS = 256
_UNLIMITED = 2**62
_STATE_VERSION = 1
_TIES, _ORDER, _EPOCH = 1, 2, 3


@dataclass(frozen=True)
class _Progress:
    """Everything that planning carries from step to step."""

    step: int
    drawn_k: np.ndarray
    credit_k: np.ndarray
    tokens_k: np.ndarray


class MixtureSampler:
    """Plans which samples each optimizer step trains on, from domains of finite size.

    Every sample of a domain is drawn once before any is drawn again; each pass has its own order.
    The number of samples drawn from a domain stays within one of what the mixture asks for. A
    domain that may not be repeated any more gives its share to the others by weight.

    Args:
        samples_by_domain: Sample ids of each domain.
        lengths_n: Tokens of every sample id.
        batch_size: Samples in one optimizer step, over all ranks and accumulated micro-batches.
        seed: Whatever integer.
        max_repeats: For each domain, how often its samples may be drawn again after their first
            time; 0 is once and no more, None is without limit.
        mixture: Probabilities of the domains from step 0.

    Raises:
        ValueError: If the lengths of the arguments do not fit each other or the batch size is not
            positive.

    Example:
        >>> sampler = MixtureSampler(
        ...     [np.arange(0, 6), np.arange(6, 8)], np.full(8, 100), batch_size=4, seed=0,
        ...     max_repeats=[None, 0], mixture=[0.5, 0.5],
        ... )
        >>> sampler.plan(0).shape, sampler.draws_by_domain(2), sampler.tokens(2)
        ((4,), array([6, 2]), 800)
    """

    def __init__(
        self,
        samples_by_domain: Sequence[Integer[np.ndarray, " ..."]],
        lengths_n: Integer[np.ndarray, " n"],
        *,
        batch_size: int,
        seed: int,
        max_repeats: Sequence[int | None],
        mixture: Sequence[float] | np.ndarray,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, but it is {batch_size}.")
        if len(samples_by_domain) == 0:
            raise ValueError("there must be at least one domain.")
        if any(repeats is not None and repeats < 0 for repeats in max_repeats):
            raise ValueError(
                f"max_repeats must be 0 or more or None, but it is {list(max_repeats)}."
            )
        self._log = MixtureLog(mixture)
        if not len(samples_by_domain) == len(max_repeats) == self._log.num_domains:
            raise ValueError(
                "max_repeats and mixture need "
                f"one entry for each of {len(samples_by_domain)} domains, "
                f"but they have {len(max_repeats)} and {self._log.num_domains}."
            )
        self.batch_size = batch_size
        self.seed = seed
        self._size_k = np.array([len(samples) for samples in samples_by_domain], dtype=np.int64)
        self._first_k = np.concatenate([[0], np.cumsum(self._size_k)[:-1]]).astype(np.int64)
        self._sample_ids = np.concatenate(list(samples_by_domain))
        self._lengths_n = lengths_n
        self._capacity_k = np.array(
            [
                _UNLIMITED if repeats is None and size > 0 else int(size) * (1 + (repeats or 0))
                for size, repeats in zip(self._size_k, max_repeats, strict=True)
            ],
            dtype=np.int64,
        )
        self._start = _Progress(
            0,
            np.zeros_like(self._size_k),
            np.zeros(self.num_domains),
            np.zeros_like(self._size_k),
        )
        self._restart(self._start)

    def _restart(self, progress: _Progress) -> None:
        self._plans: dict[int, np.ndarray] = {}
        self._carried: dict[int, _Progress] = {progress.step: progress}
        self._num_planned_steps = progress.step

    @property
    def num_domains(self) -> int:
        """Number of domains."""
        return len(self._size_k)

    @property
    def num_planned_steps(self) -> int:
        """Steps whose samples are fixed: the first step that a new mixture may start at."""
        return self._num_planned_steps

    @property
    def log(self) -> MixtureLog:
        """The mixtures so far."""
        return self._log

    @property
    def is_exhausted(self) -> bool:
        """True if the next step that is not planned yet cannot be filled."""
        step = self._num_planned_steps
        remaining_k = self._capacity_k - self._at(step).drawn_k
        left = remaining_k[self._log.mixture(step) > 0].clip(max=self.batch_size)
        return int(left.sum()) < self.batch_size

    def set_mixture(self, probabilities: Sequence[float] | np.ndarray, start_step: int) -> None:
        """Let a mixture hold from ``start_step`` on.

        Args:
            probabilities: Of the domains, summing to 1. Zero is allowed: the domain is not drawn.
            start_step: The first step with this mixture; ``apply_lag`` says how far ahead it must
                be.

        Raises:
            ValueError: If that step is planned already, or the probabilities are no mixture.
        """
        if start_step < self._num_planned_steps:
            raise ValueError(
                f"step {start_step} is planned already; the first step that can still change is "
                f"{self._num_planned_steps}."
            )
        self._log.append(start_step, probabilities)

    def plan(self, step: int) -> Int64[np.ndarray, " b"]:
        """Sample ids of an optimizer step, in the order in which they are batched.

        Args:
            step: Counted from 0. Later steps plan those before them; earlier ones are planned
                again.

        Returns:
            Read-only array of ``batch_size`` sample ids.

        Raises:
            InputError: If every domain that the mixture asks for has been drawn as often as it may.
        """
        if step not in self._plans:
            self._planned(self._at(step))
        return self._plans[step]

    def lengths(self, sample_ids: Int64[np.ndarray, " b"]) -> Integer[np.ndarray, " b"]:
        """Tokens of samples."""
        return np.asarray(self._lengths_n[sample_ids])

    def draws_by_domain(self, step: int) -> Int64[np.ndarray, " k"]:
        """Samples drawn from each domain in the first ``step`` steps."""
        return self._at(step).drawn_k.copy()

    def asked_by_domain(self, step: int) -> Float64[np.ndarray, " k"]:
        """Samples that the mixtures asked for in the first ``step`` steps, there or not."""
        return self._log.steps_asked(step) * self.batch_size

    def repeats_by_domain(self, step: int) -> Float64[np.ndarray, " k"]:
        """Passes over each domain beyond the first after ``step`` steps; 0 in the first pass."""
        passes_k = self._at(step).drawn_k / np.maximum(self._size_k, 1)
        return np.asarray(np.maximum(passes_k - 1.0, 0.0))

    def tokens(self, step: int) -> int:
        """Tokens in the first ``step`` steps."""
        return int(self._at(step).tokens_k.sum())

    def tokens_by_domain(self, step: int) -> Int64[np.ndarray, " k"]:
        """Tokens drawn from each domain in the first ``step`` steps."""
        return self._at(step).tokens_k.copy()

    def state_dict(self, step: int) -> dict[str, Any]:
        """What a later process needs to go on after ``step`` steps; plain JSON values.

        Args:
            step: Steps that were trained on, not those that a loader has read ahead.
        """
        progress = self._at(step)
        return {
            "version": _STATE_VERSION,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "sizes": self._size_k.tolist(),
            "step": step,
            "draws": progress.drawn_k.tolist(),
            "credits": progress.credit_k.tolist(),
            "tokens": progress.tokens_k.tolist(),
            "log": self._log.to_json(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken: the same steps get the same samples.

        Raises:
            ValueError: If the state belongs to other domains, another seed or another batch size.
        """
        mine = {
            "version": _STATE_VERSION,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "sizes": self._size_k.tolist(),
        }
        for name, value in mine.items():
            if state[name] != value:
                raise ValueError(
                    f"the sampler was saved with {name} {state[name]}, but this one has {value}."
                )
        self._log = MixtureLog.from_json(state["log"])
        self._restart(
            _Progress(
                int(state["step"]),
                np.array(state["draws"], dtype=np.int64),
                np.array(state["credits"], dtype=np.float64),
                np.array(state["tokens"], dtype=np.int64),
            )
        )

    def _at(self, step: int) -> _Progress:
        """What is carried into ``step``, planning whatever lies before it."""
        if step < 0:
            raise ValueError(f"steps are counted from 0, but step {step} was asked for.")
        if step not in self._carried:
            earlier = [known for known in self._carried if known < step]
            progress = self._carried[max(earlier)] if earlier else self._start
            while progress.step < step:
                progress = self._planned(progress)
        return self._carried.get(step, self._start)

    def _planned(self, progress: _Progress) -> _Progress:
        """Plan the samples of ``progress.step``; what is carried into the step after it."""
        step = progress.step
        bits = random_bits(self.seed, _TIES, step, np.arange(self.num_domains))
        try:
            count_k, credit_k = step_counts(
                self._log.mixture(step),
                progress.credit_k,
                self._capacity_k - progress.drawn_k,
                self.batch_size,
                bits,
            )
        except ValueError as error:
            num_tokens = int(progress.tokens_k.sum())
            raise InputError(
                f"the data runs out after {step} steps and {num_tokens} tokens: {error} "
                f"Lower budget.tokens to {num_tokens} or raise max_repeats."
            ) from error
        domain_b = np.repeat(np.arange(self.num_domains), count_k)
        id_b = self._drawn_ids(domain_b, count_k, progress.drawn_k)
        token_b = self._lengths_n[id_b].astype(np.float64)
        drawn_tokens_k = np.bincount(domain_b, token_b, self.num_domains).astype(np.int64)
        self._plans[step] = self._shuffled(step, id_b)
        after = _Progress(
            step + 1,
            progress.drawn_k + count_k,
            credit_k,
            progress.tokens_k + drawn_tokens_k,
        )
        self._carried[after.step] = after
        self._num_planned_steps = max(self._num_planned_steps, after.step)
        for window in (self._plans, self._carried):
            if len(window) > _WINDOW_STEPS:
                window.pop(next(iter(window)))
        return after

    def _drawn_ids(
        self, domain_b: np.ndarray, count_k: np.ndarray, drawn_k: np.ndarray
    ) -> np.ndarray:
        """The next ``count_k`` samples of every domain's sequence of permutations, by domain."""
        slot_b = np.arange(self.batch_size)
        ordinal_b = drawn_k[domain_b] + slot_b - (np.cumsum(count_k) - count_k)[domain_b]
        size_b = self._size_k[domain_b]
        epoch_b, position_b = np.divmod(ordinal_b, size_b)
        key_b = random_bits(self.seed, _EPOCH, domain_b, epoch_b)
        place_b = self._first_k[domain_b] + permuted(position_b, size_b, key_b)
        return np.asarray(self._sample_ids[place_b], dtype=np.int64)

    def _shuffled(self, step: int, id_b: np.ndarray) -> np.ndarray:
        """The samples of a step in the order in which they are batched, read-only.

        Random numbers that carry their slot in the low bits are sorted: five times as fast as
        ``argsort``, and no two are ever equal.
        """
        slot_b = np.arange(self.batch_size, dtype=np.uint64)
        width = np.uint64(self.batch_size.bit_length())
        sorted_b = np.sort((random_bits(self.seed, _ORDER, step, slot_b) << width) | slot_b)
        id_b = id_b[(sorted_b & ((np.uint64(1) << width) - np.uint64(1))).astype(np.int64)]
        id_b.setflags(write=False)
        return id_b
