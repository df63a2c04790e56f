"""Other domains while a run goes on: what was drawn stays drawn, untouched domains go on as before.

Axis letters: j domains of before, k domains of now, n samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Integer

from dids.sampling.draw_order import DrawOrder
from dids.sampling.mixture_log import MixtureLog
from dids.sampling.progress import Anchor, Progress

Members = Sequence[Integer[np.ndarray, " ..."]]


@dataclass(frozen=True)
class OrderedDomains:
    """Domains with the order in which each gives its samples.

    Attributes:
        members: Sample ids of each domain, in the places that ``orders`` speaks of.
        orders: Of each domain. None: the domains that a run begins with.
    """

    members: Members
    orders: Sequence[DrawOrder] | None = None

    @property
    def draw_orders(self) -> Sequence[DrawOrder]:
        """The orders, those of the domains that a run begins with spelt out."""
        return self.orders or [DrawOrder(key) for key in range(len(self.members))]

    def regrouped(
        self, drawn_j: Int64[np.ndarray, " j"], members: Members, seed: int
    ) -> "OrderedDomains":
        """Other domains of the same samples, and of new ones.

        A domain of the same samples as one of before goes on in the middle of its pass. In any
        other, the samples that were drawn least come first.

        Args:
            drawn_j: Draws of each domain so far.
            members: Sample ids of each domain to come, ascending.
            seed: Of the sampler.
        """
        before = self.draw_orders
        num_samples = 1 + max(int(ids.max(initial=-1)) for ids in (*self.members, *members))
        domain_n = np.full(num_samples, -1, dtype=np.int64)
        for domain, ids in enumerate(self.members):
            domain_n[ids] = domain
        count_n = np.zeros(num_samples, dtype=np.int64)
        is_counted = [False] * len(self.members)
        next_key = 1 + max(order.key for order in before)
        new_members, new_orders = [], []
        for ids in members:
            parents = np.unique(domain_n[ids])
            parent = int(parents[0]) if len(parents) == 1 else -1
            if parent >= 0 and len(self.members[parent]) == len(ids):
                new_members.append(np.asarray(self.members[parent]))
                new_orders.append(before[parent])
                continue
            for number in parents[parents >= 0].tolist():
                if not is_counted[number]:
                    own = self.members[number]
                    count = before[number].counts(len(own), int(drawn_j[number]), seed)
                    count_n[own] = count
                    is_counted[number] = True
            ordered, order = _levelled(np.asarray(ids), count_n[ids], next_key)
            next_key += 1
            new_members.append(ordered)
            new_orders.append(order)
        return OrderedDomains(new_members, new_orders)


def regrouped_progress(
    progress: Progress,
    credit_k: Float64[np.ndarray, " k"],
    mixture_k: Float64[np.ndarray, " k"],
    before: OrderedDomains,
    now: OrderedDomains,
    lengths: Integer[np.ndarray, " n"],
    seed: int,
) -> Progress:
    """What planning carries on with.

    Draws and their tokens are counted sample by sample.

    Args:
        progress: Of the domains of before.
        credit_k: What was asked of each domain of now minus what it gave.
        mixture_k: The mixture of now.
        before: These.
        now: Those that ``before.regrouped`` gave.
        lengths: Tokens of every sample id.
        seed: Of the sampler.
    """
    number_by_key = {order.key: domain for domain, order in enumerate(before.draw_orders)}
    drawn_k = np.zeros(len(now.members), dtype=np.int64)
    tokens_k = np.zeros_like(drawn_k)
    for domain, (ids, order) in enumerate(zip(now.members, now.draw_orders, strict=True)):
        if order.key in number_by_key:
            same = number_by_key[order.key]
            drawn_k[domain], tokens_k[domain] = progress.drawn_k[same], progress.tokens_k[same]
        else:
            drawn_k[domain] = order.start
            count_m = order.counts(len(ids), order.start, seed)
            tokens_k[domain] = int((lengths[ids].astype(np.int64) * count_m).sum())
    return Progress(progress.step, Anchor(drawn_k, credit_k, mixture_k), drawn_k, tokens_k)


def regrouped_log(
    before: MixtureLog,
    step: int,
    moved: Callable[[np.ndarray], np.ndarray],
    moved_later: Callable[[np.ndarray], np.ndarray],
) -> MixtureLog:
    """The mixtures of a run in other domains.

    Args:
        before: In the domains of before.
        step: From which the new domains hold.
        moved: Brings a mixture that held before ``step`` into the domains of now.
        moved_later: One that holds from then on.
    """
    earlier = [(s, moved(mixture_j)) for s, mixture_j in before.entries if s < step]
    later = [(s, moved_later(mixture_j)) for s, mixture_j in before.entries if s > step]
    now = (step, moved_later(before.mixture(step)))
    entries: list[tuple[int, np.ndarray]] = [*earlier, now, *later]
    log = MixtureLog(entries[0][1], entries[0][0])
    for start_step, mixture_k in entries[1:]:
        log.append(start_step, mixture_k)
    return log


def _levelled(ids: np.ndarray, count_m: np.ndarray, key: int) -> tuple[np.ndarray, DrawOrder]:
    """Samples by how often they were drawn, and the passes that bring them level."""
    by_count = np.argsort(count_m, kind="stable")
    level, first = np.unique(count_m[by_count], return_index=True)
    passes = tuple(
        (int(higher - lower), int(limit))
        for lower, higher, limit in zip(level[:-1], level[1:], first[1:], strict=True)
    )
    return ids[by_count], DrawOrder(key, int(count_m.sum()), passes)
