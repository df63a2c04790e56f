"""The gradients of some samples of every domain or task, divided over ranks and put together again.

All ranks make equally many passes, because sharded parameters are gathered from all for each.

Axes: n samples, m those of this rank, p coordinates, 2 halves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from dids.data.dataset import Samples
from dids.gradients.coordinates import Coordinates
from dids.gradients.gradient_pass import Labels, gradient_pass
from dids.gradients.group_sums import GroupReceiver, GroupSums
from dids.gradients.sample_rows import MAX_BYTES, RowLengths, SampleRows
from dids.gradients.shards import is_sharded
from dids.impact.blockwise_products import MeasuredGradient
from dids.ranks import is_first_rank, num_ranks, rank

_CPU_BATCH = 8  # of 16 samples the logits leave the cache: a fifth more time


def own_batches(num_samples: int, batch_size: int) -> list[Int64[np.ndarray, " b"]]:
    """Which of so many samples are this rank's, every so many-th pair, in batches.

    There are as many batches on every rank; of very few samples, some ranks have an empty one.

    Example:
        >>> own_batches(5, 3)  # of the only rank
        [array([0, 1, 2]), array([3, 4])]
    """
    place_n = np.arange(num_samples)
    rank_n = place_n // 2 % num_ranks()
    num_batches = -(-int((rank_n == 0).sum()) // batch_size)  # the first rank has the most samples
    place_m = place_n[rank_n == (rank() or 0)]
    if len(place_m) <= batch_size * (num_batches - 1):
        return np.array_split(place_m, num_batches)
    return _sliced(place_m, batch_size)


def _sliced(place_m: Int64[np.ndarray, " m"], batch_size: int) -> list[Int64[np.ndarray, " b"]]:
    return [place_m[i : i + batch_size] for i in range(0, len(place_m), batch_size)]


@dataclass(frozen=True, eq=False)
class SampleGroup:
    """Samples whose mean gradient is measured: some of a domain, or of a task.

    Attributes:
        samples: The data set that they are in.
        chosen: Which of it, in an order that does not depend on the ranks.
    """

    samples: Samples
    chosen: Int64[np.ndarray, " n"]


def measured_gradients(
    model: nn.Module,
    coordinates: Coordinates,
    groups: Sequence[SampleGroup],
    collate: Callable[[list[Any]], Mapping[str, Tensor]],
    *,
    batch_size: int,
    num_rows: int,
    with_squares: bool,
    labels: Labels = "data",
    generator: torch.Generator | None = None,
    by_tokens: bool = False,
    shortened_by: RowLengths | None = None,
) -> list[MeasuredGradient]:
    """Mean gradients of groups of samples; every rank must ask, and has all means.

    Samples of like length share a batch whatever group they are of.

    Args:
        model: As it stands, the same on all ranks.
        coordinates: Which entries to keep.
        groups: The samples.
        collate: Makes a batch of items.
        batch_size: Samples of a batch, at most.
        num_rows: How many of a group to keep by themselves.
        with_squares: Whether the means of squares are wanted.
        labels: Of the squares: ``model`` draws them one after the other, so each rank takes all the
            samples.
        generator: Source of those draws.
        by_tokens: Whether a sample weighs its scored tokens instead of one.
        shortened_by: Samples whose gradient is longer, in this measure, than the median of their
            group's are shortened to it, where all of them are kept by themselves. None: none are.

    Returns:
        One for each group; of the samples by themselves, each is on one rank.

    Raises:
        InputError: If a gradient is not finite.
        ValueError: If squares are asked for by tokens: they are means over samples.
    """
    if by_tokens and with_squares:
        raise ValueError("squares are means over samples; take them without by_tokens.")
    order = _Order.of(groups)
    is_divided = labels == "data" and num_ranks() > 1
    device = next(model.parameters()).device
    if device.type == "cpu":
        batch_size = min(batch_size, _CPU_BATCH)
    if is_divided:
        own = own_batches(len(order.group_n), batch_size)
    else:
        own = _sliced(np.arange(len(order.group_n)), batch_size)
    taken = [place_b for place_b in own if len(place_b) > 0]
    place_m = np.concatenate([np.arange(0), *taken])
    rows = SampleRows(model, coordinates, len(groups), num_rows, MAX_BYTES * len(groups))
    sums = GroupSums(model, coordinates, len(groups), rows=rows, with_squares=with_squares)
    group_m, nth_m = (torch.from_numpy(each[place_m]) for each in (order.group_n, order.nth_n))

    def batch(place_b: np.ndarray) -> dict[str, Tensor]:
        items = [
            groups[order.group_n[place]].samples[int(order.id_n[place])]
            for place in place_b.tolist()
        ]
        return {name: tensor.to(device) for name, tensor in collate(items).items()}

    if taken:
        gradient_pass(
            model,
            map(batch, taken),
            [GroupReceiver(sums, group_m, nth_m)],
            labels=labels,
            generator=generator,
            by_tokens=by_tokens,
        )
    if len(taken) < len(own) and is_sharded(model):  # the others' passes need this rank in them
        spare = batch(np.arange(1))
        gradient_pass(model, [spare] * (len(own) - len(taken)), [])
    if shortened_by is not None:
        most = max((len(group.chosen) for group in groups), default=0)
        sums.shorten(most, shortened_by, is_divided=is_divided)
    if is_divided:
        sums.sum_over_ranks()
    elif not is_first_rank():
        rows.leave_to_others()
    pairs = zip(sums.statistics(), sums.samples(), strict=True)
    return [MeasuredGradient(mean, sample) for mean, sample in pairs]


@dataclass(frozen=True, eq=False)
class _Order:
    """The samples of all groups, like lengths side by side."""

    group_n: Int64[np.ndarray, " n"]
    id_n: Int64[np.ndarray, " n"]
    nth_n: Int64[np.ndarray, " n"]
    """Number of each among those of its group, the shortest first."""

    @classmethod
    def of(cls, groups: Sequence[SampleGroup]) -> "_Order":
        none = np.zeros(0, np.int64)
        ids: list[np.ndarray] = []
        lengths: list[np.ndarray] = []
        length_by_set: dict[Samples, np.ndarray] = {}
        for group in groups:
            if group.samples not in length_by_set:  # it is put together every time
                length_by_set[group.samples] = group.samples.lengths
            length_m = length_by_set[group.samples][group.chosen]
            order_m = np.argsort(length_m, kind="stable")
            ids.append(group.chosen[order_m])
            lengths.append(length_m[order_m])
        group_n = np.repeat(np.arange(len(groups)), [len(chosen) for chosen in ids])
        nth_n = np.concatenate([none, *(np.arange(len(chosen)) for chosen in ids)])
        id_n, length_n = np.concatenate([none, *ids]), np.concatenate([none, *lengths])
        order_n = np.argsort(length_n, kind="stable")
        return cls(group_n[order_n], id_n[order_n], nth_n[order_n])
