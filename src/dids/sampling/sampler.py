"""The sampler: the samples of an optimizer step as a pure function of seed, step and mixture log.

Nothing is drawn from a generator with a state. A step's counts follow from its number and from
where its mixture began (`apportionment`), the samples from their domains' permutations
(`permutation`), so any step can be planned again from step 0 or from a saved step, whatever the
number of workers or ranks.

Axis letters: k domains, n samples of the data set, b samples of one step.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Integer

from dids.errors import InputError
from dids.sampling.domain_samples import UNLIMITED, AtEnd, DomainSamples
from dids.sampling.draw_order import DrawOrder, DrawOrders
from dids.sampling.forecast import DomainForecast, expected_draws
from dids.sampling.mixture_log import MixtureLog
from dids.sampling.progress import Block, Progress
from dids.sampling.saved_state import loaded_state, saved_state
from dids.sampling.step_planner import DataRunsOutError, StepPlanner
from dids.sampling.token_unit import Unit
from dids.sampling.usage import DomainUsage

# Steps that stay in memory. Loaders read tens of steps ahead of the step that a checkpoint asks
# for.
_WINDOW_STEPS = 256
# Samples that are planned at once. With 64 samples a step, one step takes 250 µs, a block of 128
# steps 6 µs a step; larger blocks leave the cache.
_SAMPLES_AT_ONCE = 16384
# What a state leaves out.
_UNTOLD = {"unit": "samples", "orders": None}


class MixtureSampler:
    """Plans which samples each optimizer step trains on, from domains of finite size.

    Every sample of a domain is drawn once before any is drawn again; each pass has its own order.
    What is drawn from a domain stays within about one sample of what the mixture asks for. A domain
    that may not be repeated any more gives its share to the others by weight, or ends the run.

    Args:
        samples_by_domain: Sample ids of each domain: arrays, or ranges, which take no memory.
        lengths: Tokens of every sample id; one number where all are equally long.
        batch_size: Samples in one optimizer step, over all ranks and accumulated micro-batches.
        seed: Whatever integer.
        mixture: Probabilities of the domains from step 0. Zero is allowed.
        max_repeats: For each domain, how often its samples may be drawn again after their first
            time; 0 is once and no more, None is without limit. None for all: no limits.
        unit: Whether probabilities are shares of samples or of tokens.
        at_end: For each domain with a limit, what happens when it is used up: ``renormalise``, or
            ``stop`` before the first step that it cannot serve in full. None for all:
            ``renormalise``.
        orders: In which order each domain gives its samples, where domains were regrouped on the
            way (`dids.sampling.regrouping`); such a sampler has to ``start_from`` somewhere.

    Raises:
        ValueError: If the lengths of the arguments do not fit each other, or the batch size is not
            positive.

    Example:
        >>> sampler = MixtureSampler(
        ...     [range(0, 6), range(6, 8)], 100, batch_size=4, seed=0,
        ...     max_repeats=[None, 0], mixture=[0.5, 0.5],
        ... )
        >>> sampler.plan(0).shape, sampler.draws_by_domain(2), sampler.tokens(2)
        ((4,), array([6, 2]), 800)
    """

    def __init__(
        self,
        samples_by_domain: Sequence[Integer[np.ndarray, " ..."] | range],
        lengths: Integer[np.ndarray, " n"] | int,
        *,
        batch_size: int,
        seed: int,
        mixture: Sequence[float] | np.ndarray,
        max_repeats: Sequence[int | None] | None = None,
        unit: Unit = "samples",
        at_end: Sequence[AtEnd] | None = None,
        orders: Sequence[DrawOrder] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, but it is {batch_size}.")
        if unit not in ("samples", "tokens"):
            raise ValueError(f"unit must be samples or tokens, but it is {unit!r}.")
        num_domains = len(samples_by_domain)
        self._domains = DomainSamples(
            samples_by_domain,
            lengths,
            [None] * num_domains if max_repeats is None else max_repeats,
            ["renormalise"] * num_domains if at_end is None else at_end,
        )
        self._log = MixtureLog(mixture)
        if self._log.num_domains != num_domains:
            raise ValueError(
                f"the mixture needs one entry for each of {num_domains} domains, "
                f"but it has {self._log.num_domains}."
            )
        self.batch_size = batch_size
        self.seed = seed
        self.unit: Unit = unit
        self._orders = DrawOrders(self._domains.size_k, seed, orders)
        self._planner = StepPlanner(
            self._domains, batch_size, seed, in_tokens=unit == "tokens", orders=self._orders
        )
        self._restart(self._planner.start)

    def _restart(self, progress: Progress) -> None:
        self._start = progress
        self._blocks: list[Block] = []
        self._num_planned_steps = progress.step
        self._steps_at_once = 1

    @property
    def num_domains(self) -> int:
        """Number of domains."""
        return self._domains.num_domains

    @property
    def num_planned_steps(self) -> int:
        """Steps whose samples are fixed: the first step that a new mixture may start at."""
        return self._num_planned_steps

    def progress(self, step: int) -> Progress:
        """Draws and tokens that are carried into a step."""
        return self._at(step)

    def credits(self, step: int) -> Float64[np.ndarray, " k"]:
        """What was asked of each domain minus what it gave, before a step."""
        return self._planner.credits(self._at(step))

    def start_from(self, progress: Progress, log: MixtureLog) -> None:
        """Go on in the middle of a run that other domains have begun.

        Args:
            progress: What is carried into the first step that can be planned.
            log: The mixtures from that step on.
        """
        self._log = log
        self._restart(progress)

    @property
    def log(self) -> MixtureLog:
        """The mixtures so far; of a resumed run, from the step on that it resumed at."""
        return self._log

    @property
    def is_exhausted(self) -> bool:
        """True if the next step that is not planned yet cannot be filled."""
        return not self.has_step(self._num_planned_steps)

    def has_step(self, step: int) -> bool:
        """Whether a step can be filled; it is not planned by asking, but those before it are."""
        if not self._domains.is_limited or self._block(step) is not None:
            return True
        try:
            return self._planner.can_fill(self._at(step), self._log)
        except InputError:
            return False

    def set_mixture(self, probabilities: Sequence[float] | np.ndarray, start_step: int) -> None:
        """Let a mixture hold from ``start_step`` on.

        Args:
            probabilities: Of the domains, summing to 1. Zero is allowed: the domain is not drawn.
            start_step: The first step with this mixture; ``apply_lag`` says how far ahead it must
                be.

        Raises:
            ValueError: If that step is planned already, or the probabilities are no mixture.
        """
        if not isinstance(start_step, int | np.integer):
            raise ValueError(f"start_step must be a whole number, but it is {start_step!r}.")
        if start_step < self._num_planned_steps:
            raise ValueError(
                f"step {start_step} is planned already; the first step that can still change is "
                f"{self._num_planned_steps}."
            )
        self._log.append(start_step, probabilities)
        # Steps that nobody has asked for yet were planned ahead with the mixture of before.
        kept = [block for block in self._blocks if block.first.step < start_step]
        if kept and start_step < kept[-1].last.step:
            kept[-1] = kept[-1].until(start_step - kept[-1].first.step)
        self._blocks, self._steps_at_once = kept, 1

    def plan(self, step: int) -> Int64[np.ndarray, " b"]:
        """Sample ids of an optimizer step, in the order in which they are batched.

        Args:
            step: Counted from 0. Later steps plan those before them; earlier ones are planned
                again, from the first or from the one that this run resumed at.

        Returns:
            Read-only array of ``batch_size`` sample ids.

        Raises:
            InputError: If every domain that the mixture asks for has been drawn as often as it may.
            ValueError: If the step lies before the one that this run resumed at.
        """
        block = self._block(step)
        if block is None:
            self._at(step)
            block = self._block(step) or self._planned_on()
        self._num_planned_steps = max(self._num_planned_steps, step + 1)
        plan_b: np.ndarray = block.plan_sb[step - block.first.step]
        return plan_b

    def lengths(self, sample_ids: Int64[np.ndarray, " b"]) -> Integer[np.ndarray, " b"]:
        """Tokens of samples."""
        return self._domains.lengths(sample_ids)

    @property
    def equal_length(self) -> int | None:
        """Tokens of every sample, if one number was given for all."""
        return self._domains.equal_length

    def draws_by_domain(self, step: int) -> Int64[np.ndarray, " k"]:
        """Samples drawn from each domain in the first ``step`` steps."""
        return self._at(step).drawn_k.copy()

    def repeats_by_domain(self, step: int) -> Float64[np.ndarray, " k"]:
        """Passes over each domain beyond the first after ``step`` steps; 0 in the first pass."""
        passes_k = self._at(step).drawn_k / np.maximum(self._domains.size_k, 1)
        return np.asarray(np.maximum(passes_k - 1.0, 0.0))

    def tokens(self, step: int) -> int:
        """Tokens in the first ``step`` steps."""
        return int(self._at(step).tokens_k.sum())

    def tokens_by_domain(self, step: int) -> Int64[np.ndarray, " k"]:
        """Tokens drawn from each domain in the first ``step`` steps."""
        return self._at(step).tokens_k.copy()

    def usage(self, step: int) -> list[DomainUsage]:
        """Draws, epochs, repeats and what is left of every domain after ``step`` steps."""
        progress, domains = self._at(step), self._domains
        size_k = np.maximum(domains.size_k, 1)
        mean_length_k = domains.tokens_k / size_k
        epoch_k = progress.drawn_k / size_k
        left_k = domains.capacity_k - progress.drawn_k
        return [
            DomainUsage(
                samples=int(progress.drawn_k[k]),
                tokens=int(progress.tokens_k[k]),
                epochs=float(epoch_k[k]),
                repeats=max(0.0, float(epoch_k[k]) - 1.0),
                samples_left=None if domains.capacity_k[k] == UNLIMITED else int(left_k[k]),
                tokens_left=None
                if domains.capacity_k[k] == UNLIMITED
                else round(domains.capacity_k[k] * mean_length_k[k] - progress.tokens_k[k]),
            )
            for k in range(self.num_domains)
        ]

    def forecast(self, num_steps: int) -> list[DomainForecast]:
        """What the mixtures set so far imply for every domain, if the run has so many steps.

        Args:
            num_steps: Steps of the whole run, those done included.

        Example:
            >>> sampler = MixtureSampler(
            ...     [range(300), range(300, 360)], 16, batch_size=16, seed=0, mixture=[0.8, 0.2],
            ...     max_repeats=[None, 3],
            ... )
            >>> [domain.sentence("code") for domain in sampler.forecast(400)[1:]]
            ['code: 4.0 epochs, cap reached at step 75']
        """
        mean_length_k = None
        if self.unit == "tokens":
            mean_length_k = self._domains.tokens_k / np.maximum(self._domains.size_k, 1)
        return expected_draws(
            self._domains,
            self._log,
            self.batch_size,
            num_steps,
            mean_length_k=mean_length_k,
            drawn_k=self._start.drawn_k,
            first_step=self._start.step,
        )

    def state_dict(self, step: int) -> dict[str, Any]:
        """What a later process needs to go on after ``step`` steps; plain JSON values.

        Of the mixtures it has the one that holds then and those that are set for later, so its size
        does not grow with the run; `dids.sampling.saved_state` says what is in it.

        Args:
            step: Steps that were trained on, not those that a loader has read ahead.
        """
        progress = self._planner.anchored(self._at(step), self._log)
        identity = {**self._identity(), "sizes": _fingerprint(self._domains.size_k)}
        told = {name: value for name, value in identity.items() if value != _UNTOLD.get(name)}
        return {**told, **saved_state(progress, self._log, self._planner)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken: the same steps get the same samples.

        A state of version 2 gives the samples that it would have given then. One of version 1 is
        taken up with its counts and credits; its next samples are those of this version.

        Raises:
            ValueError: If the state belongs to other domains, another seed, unit or batch size.
        """
        self._refuse_another(state)
        progress, self._log = loaded_state(state, self._planner)
        self._restart(progress)

    def _refuse_another(self, state: dict[str, Any]) -> None:
        for name, value in self._identity().items():
            saved = state.get(name, _UNTOLD.get(name))
            if name == "sizes" and isinstance(saved, str):
                is_same = saved == _fingerprint(self._domains.size_k)
                saved = value if is_same else "of other domains"
            if saved != value:
                raise ValueError(
                    f"the sampler was saved with {name} {saved}, but this one has {value}."
                )

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "sizes": self._domains.size_k.tolist(),
            "unit": self.unit,
            "orders": self._orders.to_json(),
        }

    def _block(self, step: int) -> Block | None:
        """The block in memory that has a step."""
        for block in reversed(self._blocks):
            if block.first.step <= step < block.last.step:
                return block
        return None

    def _at(self, step: int) -> Progress:
        """What is carried into ``step``, planning whatever lies before it."""
        if step < self._start.step:
            raise ValueError(
                f"step {step} was asked for, but this run begins with step {self._start.step}: "
                "start there (start_step), earlier steps are not known to a resumed run."
            )
        if self._blocks and step < self._blocks[0].first.step:
            self._blocks = []
        progress = self._blocks[-1].last if self._blocks else self._start
        while progress.step < step:
            progress = self._planned_on().last
        self._num_planned_steps = max(self._num_planned_steps, step)
        if progress.step == step:
            return progress
        block = next(b for b in reversed(self._blocks) if b.first.step <= step)
        return block.progress(step - block.first.step)

    def _planned_on(self) -> Block:
        """The next block after those in memory."""
        progress = self._blocks[-1].last if self._blocks else self._start
        try:
            block = self._planner.planned(progress, self._log, self._steps_at_once)
        except DataRunsOutError as error:
            tokens = int(progress.tokens_k.sum())
            raise InputError(
                f"the data runs out after {progress.step} steps and {tokens} tokens: {error} "
                f"Lower budget.tokens to {tokens} or raise max_repeats."
            ) from error
        most = max(1, _SAMPLES_AT_ONCE // self.batch_size)
        self._steps_at_once = min(2 * self._steps_at_once, most)
        self._blocks.append(block)
        while block.last.step - self._blocks[0].last.step > _WINDOW_STEPS:
            self._blocks.pop(0)
        return block


def _fingerprint(size_k: np.ndarray) -> str:
    """Eight letters for the sizes of any number of domains (CRC-32)."""
    return f"{zlib.crc32(size_k.astype('<i8').tobytes()):08x}"
