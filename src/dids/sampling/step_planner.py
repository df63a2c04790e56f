"""Plans of single steps, from what the steps before carry into them.

Counts are made step by step, because each step's follow from the last one's; permutations and
orders are then computed for several steps in one go, which shares numpy's overhead.

Axis letters: k domains, b samples of one step, s steps, n samples of all of these steps.
"""

from dataclasses import dataclass

import numpy as np

from dids.sampling.counts import step_counts
from dids.sampling.domain_samples import UNLIMITED, DomainSamples
from dids.sampling.draw_order import DrawOrders
from dids.sampling.mixture_log import MixtureLog
from dids.sampling.random_bits import random_bits
from dids.sampling.token_unit import next_token_credits, sample_credits, sample_shares

_TIES, _ORDER = 1, 2  # 3: the passes of `draw_order`


class DataRunsOutError(Exception):
    """A step cannot be filled; the message says what is missing."""


@dataclass(frozen=True)
class Progress:
    """Everything that planning carries from step to step.

    Attributes:
        step: The step that it is carried into.
        drawn_k: Samples drawn so far.
        credit_k: What was asked for minus what was drawn, in the mixture's unit.
        tokens_k: Tokens drawn so far.
    """

    step: int
    drawn_k: np.ndarray
    credit_k: np.ndarray
    tokens_k: np.ndarray


class StepPlanner:
    """Plans steps as a pure function of seed, mixture log and progress.

    Args:
        domains: What there is to draw.
        batch_size: Samples of one step.
        seed: Whatever integer.
        in_tokens: Whether probabilities are shares of tokens.
        orders: In which order each domain gives its samples. None: as from the start of a run.
    """

    def __init__(
        self,
        domains: DomainSamples,
        batch_size: int,
        seed: int,
        *,
        in_tokens: bool,
        orders: DrawOrders | None = None,
    ) -> None:
        self._domains = domains
        self._orders = DrawOrders(domains.size_k) if orders is None else orders
        self._batch_size = batch_size
        self._seed = seed
        # Where all samples are equally long, shares of samples and of tokens are the same.
        self._in_tokens = in_tokens and domains.equal_length is None
        self._mean_length_k = np.ones(domains.num_domains)
        if self._in_tokens:
            mean_k = domains.tokens_k / np.maximum(domains.size_k, 1)
            self._mean_length_k = np.maximum(mean_k, 1.0)
        zero_k = np.zeros_like(domains.size_k)
        self.start = Progress(0, zero_k, np.zeros(domains.num_domains), zero_k)

    def can_fill(self, progress: Progress, probability_k: np.ndarray) -> bool:
        """Whether there are samples enough for the step."""
        try:
            self._counts(progress, probability_k, np.zeros(len(probability_k), dtype=np.uint64))
        except DataRunsOutError:
            return False
        return True

    def planned(
        self, progress: Progress, log: MixtureLog, num_steps: int
    ) -> list[tuple[np.ndarray, Progress]]:
        """Sample ids of steps, read-only, and what each carries into the step after it.

        Args:
            progress: Carried into the first of the steps.
            log: The mixtures.
            num_steps: At most; one at least, and one by one where credits are in tokens.

        Raises:
            DataRunsOutError: If the first step cannot be filled.
        """
        if self._in_tokens:
            num_steps = 1
        steps = progress.step + np.arange(num_steps)
        tie_sk = random_bits(self._seed, _TIES, steps[:, None], self._orders.key_k)
        counts, credits, drawn = [], [], [progress.drawn_k]
        credit_k = progress.credit_k
        for row in range(num_steps):
            before = Progress(progress.step + row, drawn[-1], credit_k, progress.tokens_k)
            try:
                count_k, credit_k = self._counts(before, log.mixture(before.step), tie_sk[row])
            except DataRunsOutError:
                if row == 0:
                    raise
                break
            counts.append(count_k)
            credits.append(credit_k)
            drawn.append(drawn[-1] + count_k)
        count_sk = np.array(counts)
        id_sb, tokens_sk = self._drawn(count_sk, np.array(drawn[:-1]))
        if self._in_tokens:
            credits = [self._token_credits(progress, log.mixture(progress.step), tokens_sk[0])]
        plan_sb = self._shuffled(steps[: len(counts)], id_sb)
        plan_sb.setflags(write=False)
        total_sk = progress.tokens_k + np.cumsum(tokens_sk, axis=0)
        return [
            (plan_sb[row], Progress(progress.step + row + 1, drawn[row + 1], credits[row], tokens))
            for row, tokens in enumerate(total_sk)
        ]

    def _counts(
        self, progress: Progress, probability_k: np.ndarray, tie_break_k: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples of one step by domain, and the credits (in samples) after it."""
        remaining_k = self._domains.capacity_k - progress.drawn_k
        stops_k = self._domains.stops_k
        endless_k = np.where(stops_k, UNLIMITED, remaining_k) if stops_k.any() else remaining_k
        credit_k = progress.credit_k
        share_k = probability_k
        if self._in_tokens:
            is_active_k = (probability_k > 0) & (remaining_k > 0)
            share_k = sample_shares(probability_k, self._mean_length_k)
            credit_k = np.where(is_active_k, credit_k, 0.0)
            credit_k = sample_credits(credit_k, share_k, self._mean_length_k)
        try:
            count_k, credit_k = step_counts(
                share_k, credit_k, endless_k, self._batch_size, tie_break_k
            )
        except ValueError as error:
            raise DataRunsOutError(str(error)) from error
        is_short_k = stops_k & (count_k > remaining_k)
        if is_short_k.any():
            domain = int(np.flatnonzero(is_short_k)[0])
            raise DataRunsOutError(
                f"domain number {domain}, which ends the run, should give {count_k[domain]} more "
                f"samples, but only {remaining_k[domain]} are left."
            )
        return count_k, credit_k

    def _token_credits(
        self, progress: Progress, probability_k: np.ndarray, tokens_k: np.ndarray
    ) -> np.ndarray:
        remaining_k = self._domains.capacity_k - progress.drawn_k
        is_active_k = (probability_k > 0) & (remaining_k > 0)
        return next_token_credits(progress.credit_k, probability_k, is_active_k, tokens_k)

    def _drawn(self, count_sk: np.ndarray, drawn_sk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next samples of every domain's sequence of permutations, and their tokens.

        Returns:
            Sample ids ``[s, b]``, by domain, and tokens ``[s, k]``.
        """
        domains, shape = self._domains, (len(count_sk), self._batch_size)
        count_c = count_sk.ravel()  # one entry a step and domain
        cell_n = np.repeat(np.arange(len(count_c)), count_c)
        domain_n = cell_n % domains.num_domains
        first_c = drawn_sk.ravel() - (np.cumsum(count_c) - count_c)
        ordinal_n = first_c[cell_n] + np.arange(len(cell_n))
        id_n = domains.ids(domain_n, self._orders.places(domain_n, ordinal_n, self._seed))
        if domains.equal_length is not None:
            tokens_sk = count_sk * domains.equal_length
        else:
            token_n = domains.lengths(id_n).astype(np.float64)
            tokens_c = np.bincount(cell_n, token_n, len(count_c)).astype(np.int64)
            tokens_sk = tokens_c.reshape(count_sk.shape)
        return id_n.reshape(shape), tokens_sk

    def _shuffled(self, steps: np.ndarray, id_sb: np.ndarray) -> np.ndarray:
        """The samples of steps in the order in which they are batched.

        Random numbers that carry their slot in the low bits are sorted: five times as fast as
        ``argsort``, and no two are ever equal.
        """
        slot_b = np.arange(self._batch_size, dtype=np.uint64)
        width = np.uint64(self._batch_size.bit_length())
        bits_sb = random_bits(self._seed, _ORDER, steps[:, None], slot_b)
        sorted_sb = np.sort((bits_sb << width) | slot_b, axis=1)
        order_sb = (sorted_sb & ((np.uint64(1) << width) - np.uint64(1))).astype(np.int64)
        return np.take_along_axis(id_sb, order_sb, axis=1)
