"""The gradient of some samples, divided over ranks and put together again.

Ranks take the samples in pairs, so that each sample is in the half that it would be in on one rank.
All make equally many passes, because sharded parameters are gathered from all ranks for each.

Axes: n samples, m those of this rank, p coordinates, 2 halves.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from dids.gradients.coordinates import Coordinates
from dids.gradients.gradient_pass import Labels, gradient_pass
from dids.gradients.sample_rows import SampleRows
from dids.gradients.shards import is_sharded
from dids.gradients.statistics import GradientStatistics, gradient_statistics
from dids.impact.blockwise_products import MeasuredGradient
from dids.ranks import num_ranks, rank, sum_over_ranks_


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


def measured_gradient(
    model: nn.Module,
    coordinates: Coordinates,
    batch: Callable[[np.ndarray], Mapping[str, Tensor]],
    samples: np.ndarray,
    *,
    batch_size: int,
    total_weight: float,
    num_rows: int,
    with_squares: bool,
    labels: Labels = "data",
    **options: Any,
) -> MeasuredGradient:
    """Mean gradient of samples and some rows of it; every rank must ask, and has the result.

    Args:
        model: As it stands, the same on all ranks.
        coordinates: Which entries to keep.
        batch: Makes a batch of samples, in their order.
        samples: In an order that does not depend on the ranks.
        batch_size: Samples of a batch.
        total_weight: What they weigh together.
        num_rows: How many of them to keep by themselves.
        with_squares: Whether the mean of squares is wanted.
        labels: ``model`` draws labels one after the other, so each rank takes all the samples.
        options: Of :func:`~dids.gradients.statistics.gradient_statistics`.
    """
    is_divided = labels == "data" and num_ranks() > 1
    if is_divided:
        own = own_batches(len(samples), batch_size)
    else:
        own = _sliced(np.arange(len(samples)), batch_size)
    taken = [place_b for place_b in own if len(place_b) > 0]
    place_m = np.concatenate([np.arange(0), *taken])
    rows = SampleRows(model, coordinates, 1, num_rows)
    mean = GradientStatistics.nothing(model, coordinates, with_squares=with_squares)
    if taken:
        mean = gradient_statistics(
            model,
            (batch(samples[place_b]) for place_b in taken),
            coordinates,
            with_squares=with_squares,
            labels=labels,
            receivers=[rows.receiver(0, torch.from_numpy(place_m))],
            **options,
        )
    if len(taken) < len(own) and is_sharded(model):  # the others' passes need this rank in them
        gradient_pass(model, [batch(samples[:1])] * (len(own) - len(taken)), [])
    if is_divided:
        mean = _over_ranks(mean, place_m, len(samples))
        rows.sum_over_ranks()
    return MeasuredGradient(mean, rows.of_group(0, len(samples), total_weight))


def _over_ranks(
    own: GradientStatistics, place_m: Int64[np.ndarray, " m"], num_samples: int
) -> GradientStatistics:
    """The statistics of all ranks' samples."""
    weight_2 = own.weight_2.clone()
    sum_2p = own.halves_2p * weight_2.unsqueeze(1)
    losses_n = own.losses_n.new_zeros(num_samples)
    losses_n[torch.from_numpy(place_m).to(losses_n.device)] = own.losses_n
    sum_over_ranks_(weight_2, sum_2p, losses_n)
    square_p = own.square_p
    if square_p is not None:
        square_p = square_p * (own.num_samples / num_samples)
        sum_over_ranks_(square_p)
    return replace(
        own,
        halves_2p=sum_2p / weight_2.clamp(min=1).unsqueeze(1),
        weight_2=weight_2,
        square_p=square_p,
        losses_n=losses_n,
        num_samples=num_samples,
    )
