"""Plans of steps, from what the steps before carry into them; as many in one go as can be.

How many samples a domain gives follows from the last anchor (`apportionment`), which of them from
its permutations (`permutation`); neither waits for the step before. Where a domain runs out, its
weight goes to the others from that very sample on, which is an anchor inside a step.

Axis letters: k domains, b samples of one step, s steps, n samples of all of these steps.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from dids.sampling.apportionment import Apportionment
from dids.sampling.domain_samples import UNLIMITED, DomainSamples
from dids.sampling.draw_order import DrawOrders
from dids.sampling.mixture_log import MixtureLog
from dids.sampling.progress import Anchor, Block, Progress, drawn_by_domain
from dids.sampling.random_bits import random_bits
from dids.sampling.token_unit import next_token_credits, sample_credits, sample_shares

_TIES, _ORDER = 1, 2  # 3: the passes of `draw_order`
# Credits are kept to a ten-thousandth of a sample, so that a saved state is short.
CREDIT_DECIMALS = 4


class DataRunsOutError(Exception):
    """A step cannot be filled; the message says what is missing."""


class _Drawn(NamedTuple):
    """Samples of steps, one step behind the other, and the anchors at their start and end."""

    domain_n: np.ndarray
    ordinal_n: np.ndarray
    """How many samples its domain gave before, since the start of the run."""
    anchor: Anchor
    last_anchor: Anchor


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
        self.domains = domains
        self._orders = DrawOrders(domains.size_k, seed) if orders is None else orders
        self.batch_size = batch_size
        self._seed = seed
        # Where all samples are equally long, shares of samples and of tokens are the same.
        self._in_tokens = in_tokens and domains.equal_length is None
        self._mean_length_k = np.ones(domains.num_domains)
        if self._in_tokens:
            mean_k = domains.tokens_k / np.maximum(domains.size_k, 1)
            self._mean_length_k = np.maximum(mean_k, 1.0)
        # A domain that ends the run is asked for as if it had no end.
        self._endless_k = np.where(domains.stops_k, UNLIMITED, domains.capacity_k)
        zero_k = np.zeros_like(domains.size_k)
        nothing = Anchor(zero_k, np.zeros(domains.num_domains), np.zeros(domains.num_domains))
        self.start = Progress(0, nothing, zero_k, zero_k)
        self._tie_break_k = random_bits(seed, _TIES, self._orders.key_k)
        self._shares: tuple[np.ndarray, Apportionment] | None = None

    def can_fill(self, progress: Progress, log: MixtureLog) -> bool:
        """Whether there are samples enough for the step that ``progress`` is carried into."""
        try:
            self._drawn(progress, log.mixture(progress.step), 1)
        except DataRunsOutError:
            return False
        return True

    def anchored(self, progress: Progress, log: MixtureLog) -> Progress:
        """The same progress, with the anchor that the step that it is carried into will have."""
        if self._in_tokens:
            return progress
        return replace(progress, anchor=self._anchor(progress, log.mixture(progress.step)))

    def planned(self, progress: Progress, log: MixtureLog, num_steps: int) -> Block:
        """Steps from the one that ``progress`` is carried into.

        Args:
            progress: Carried into the first of the steps.
            log: The mixtures.
            num_steps: At most; one at least, and one by one where credits are in tokens or the
                mixture changes.

        Raises:
            DataRunsOutError: If the first step cannot be filled.
        """
        mixture_k = log.mixture(progress.step)
        num_steps = 1 if self._in_tokens else log.num_steps_alike(progress.step, num_steps)
        domain_n, ordinal_n, anchor, last_anchor = self._drawn(progress, mixture_k, num_steps)
        domains, num_steps = self.domains, len(domain_n) // self.batch_size
        id_n = domains.ids(domain_n, self._orders.places(domain_n, ordinal_n))
        tokens_n = domains.lengths(id_n) if domains.equal_length is None else domains.equal_length
        drawn_k, tokens_k = drawn_by_domain(domain_n, tokens_n, domains.num_domains)
        if self._in_tokens:
            last_anchor = self._token_anchor(progress, mixture_k, drawn_k, tokens_k)
        shape = (num_steps, self.batch_size)
        return Block(
            progress,
            Progress(
                progress.step + num_steps,
                last_anchor,
                progress.drawn_k + drawn_k,
                progress.tokens_k + tokens_k,
            ),
            anchor,
            domain_n.reshape(shape),
            tokens_n if isinstance(tokens_n, int) else tokens_n.reshape(shape),
            self._shuffled(progress.step + np.arange(num_steps), id_n.reshape(shape)),
        )

    def _drawn(self, progress: Progress, mixture_k: np.ndarray, num_steps: int) -> _Drawn:
        """Samples of steps: of fewer, but one at least, where a domain runs out."""
        share_k = mixture_k
        if self._in_tokens:
            share_k = sample_shares(mixture_k, self._mean_length_k)
            progress = replace(progress, anchor=self._sample_anchor(progress, mixture_k, share_k))
        anchor = self._anchor(progress, share_k)
        total_s = self.batch_size * np.arange(num_steps + 1)
        domain_n, ordinal_n = self._draws(progress, anchor, total_s)
        num_full = _num_before(ordinal_n >= self.domains.capacity_k[domain_n], self.batch_size)
        # A domain that has given its last sample is an anchor at the next step, wherever steps
        # are planned together from: so a block ends there.
        is_last_n = ordinal_n + 1 == self._endless_k[domain_n]
        if is_last_n.any():
            num_full = min(num_full, int(is_last_n.argmax()) // self.batch_size + 1)
        if num_full > 0:
            end = num_full * self.batch_size
            return _Drawn(domain_n[:end], ordinal_n[:end], anchor, anchor)
        return self._drawn_to_the_end(progress, share_k)

    def _drawn_to_the_end(self, progress: Progress, share_k: np.ndarray) -> _Drawn:
        """Samples of one step in which domains run out, each up to its last sample."""
        domains, ordinals, missing = [], [], self.batch_size
        first = anchor = self._anchor(progress, share_k)
        while True:
            domain_n, ordinal_n = self._draws(progress, anchor, np.arange(missing + 1))
            num = _num_before(ordinal_n >= self._endless_k[domain_n], 1)
            domains.append(domain_n[:num])
            ordinals.append(ordinal_n[:num])
            missing -= num
            if missing == 0:
                break
            drawn_k = np.bincount(domain_n[:num], minlength=len(progress.drawn_k))
            progress = replace(progress, anchor=anchor, drawn_k=progress.drawn_k + drawn_k)
            anchor = self._anchor(progress, share_k)
        domain_n, ordinal_n = np.concatenate(domains), np.concatenate(ordinals)
        self._refuse_ended(domain_n, ordinal_n)
        return _Drawn(domain_n, ordinal_n, first, anchor)

    def _refuse_ended(self, domain_n: np.ndarray, ordinal_n: np.ndarray) -> None:
        is_over_n = ordinal_n >= self.domains.capacity_k[domain_n]
        if is_over_n.any():
            domain = int(domain_n[is_over_n].min())
            asked = int((domain_n == domain).sum())
            left = asked - int((domain_n[is_over_n] == domain).sum())
            raise DataRunsOutError(
                f"domain number {domain}, which ends the run, should give {asked} more "
                f"samples, but only {left} are left."
            )

    def _draws(
        self, progress: Progress, anchor: Anchor, total_s: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Domains and ordinals of samples after ``progress``."""
        is_active_k = self._is_active(anchor)
        if not is_active_k.any():
            raise DataRunsOutError(
                f"a step needs {self.batch_size} samples, but only "
                f"{max(0, self.batch_size - int(total_s[-1]))} are left."
            )
        share_k, credit_k = _shared(anchor, is_active_k)
        given_k = progress.drawn_k - anchor.drawn_k
        domain_n, nth_n = self._apportionment(share_k).draws(
            credit_k, given_k, int(given_k.sum()) + total_s
        )
        return domain_n, anchor.drawn_k[domain_n] + nth_n

    def _apportionment(self, share_k: np.ndarray) -> Apportionment:
        if self._shares is None or not np.array_equal(self._shares[0], share_k):
            self._shares = (share_k, Apportionment(share_k, self._tie_break_k))
        return self._shares[1]

    def _is_active(self, anchor: Anchor) -> np.ndarray:
        """Which domains can give what they are asked for."""
        return np.asarray((anchor.mixture_k > 0) & (anchor.drawn_k < self._endless_k))

    def _anchor(self, progress: Progress, share_k: np.ndarray) -> Anchor:
        """The anchor of the next sample: that of the last one, if nothing has changed since."""
        last = progress.anchor
        is_active_k = self._is_active(last)
        has_left_k = progress.drawn_k < self._endless_k
        if np.array_equal(last.mixture_k, share_k) and has_left_k[is_active_k].all():
            return last
        credit_k = np.round(self.credits(progress), CREDIT_DECIMALS)
        return Anchor(progress.drawn_k, credit_k, share_k)

    def credits(self, progress: Progress) -> np.ndarray:
        """What was asked for minus what was drawn, in the mixture's unit."""
        last = progress.anchor
        drawn_k = progress.drawn_k - last.drawn_k
        if not drawn_k.any():
            return last.credit_k
        is_active_k = self._is_active(last)
        asked_k, credit_k = _shared(last, is_active_k)
        return np.where(is_active_k, credit_k + asked_k * drawn_k.sum() - drawn_k, 0.0)

    def drawn_since(self, start_step: int, step: int) -> int:
        """Samples since the last anchor, if it was that of a mixture's first step."""
        return 0 if self._in_tokens else (step - start_step) * self.batch_size

    def given(
        self, drawn_k: np.ndarray, credit_k: np.ndarray, mixture_k: np.ndarray, num_samples: int
    ) -> Int64[np.ndarray, " k"]:
        """What each domain gave of the last samples, where those before them are not remembered.

        Args:
            drawn_k: Samples drawn, these included.
            credit_k: Of the anchor before them.
            mixture_k: Of that anchor, and of all steps since.
            num_samples: How many they are.
        """
        if num_samples == 0:
            return np.zeros_like(drawn_k)
        # No domain has become full since, or there would be a new anchor.
        is_active_k = (mixture_k > 0) & (drawn_k < self._endless_k)
        share_k, credit_k = _shared(Anchor(drawn_k, credit_k, mixture_k), is_active_k)
        return self._apportionment(share_k).given(credit_k, num_samples)

    def _sample_anchor(
        self, progress: Progress, mixture_k: np.ndarray, share_k: np.ndarray
    ) -> Anchor:
        """The anchor of one step in samples, from one whose credits are in tokens."""
        is_active_k = (mixture_k > 0) & (progress.drawn_k < self._endless_k)
        credit_k = np.where(is_active_k, progress.anchor.credit_k, 0.0)
        credit_k = sample_credits(credit_k, share_k, self._mean_length_k)
        return Anchor(progress.drawn_k, credit_k, share_k)

    def _token_anchor(
        self,
        progress: Progress,
        mixture_k: np.ndarray,
        drawn_k: np.ndarray,
        tokens_k: np.ndarray,
    ) -> Anchor:
        """Credits in tokens after a step."""
        is_active_k = (mixture_k > 0) & (progress.drawn_k < self._endless_k)
        credit_k = next_token_credits(progress.anchor.credit_k, mixture_k, is_active_k, tokens_k)
        drawn_k = progress.drawn_k + drawn_k
        return Anchor(drawn_k, np.round(credit_k, CREDIT_DECIMALS), mixture_k)

    def _shuffled(self, steps: np.ndarray, id_sb: np.ndarray) -> np.ndarray:
        """The samples of steps in the order in which they are batched, read-only.

        Random numbers that carry their slot in the low bits are sorted: five times as fast as
        ``argsort``, and no two are ever equal.
        """
        slot_b = np.arange(self.batch_size, dtype=np.uint64)
        width = np.uint64(self.batch_size.bit_length())
        bits_sb = random_bits(self._seed, _ORDER, steps[:, None], slot_b)
        sorted_sb = np.sort((bits_sb << width) | slot_b, axis=1)
        order_sb = (sorted_sb & ((np.uint64(1) << width) - np.uint64(1))).astype(np.int64)
        plan_sb = np.take_along_axis(id_sb, order_sb, axis=1)
        plan_sb.setflags(write=False)
        return plan_sb


def _shared(anchor: Anchor, is_active_k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares and credits where the domains that take no part have given theirs to the others."""
    share_k = np.where(is_active_k, anchor.mixture_k, 0.0)
    share_k /= share_k.sum()
    left_over = float(anchor.credit_k[~is_active_k].sum())
    return share_k, np.where(is_active_k, anchor.credit_k + share_k * left_over, 0.0)


def _num_before(is_over_n: np.ndarray, size: int) -> int:
    """How many parts of ``size`` samples come before the one with the first that is over."""
    num = int(is_over_n.argmax()) if is_over_n.any() else len(is_over_n)
    return num // size
