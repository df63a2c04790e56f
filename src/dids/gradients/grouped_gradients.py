"""Mean gradients of groups of samples (domains), read off the backward passes that train a model.

A training step computes every sample's gradient anyway, and adds them up at once. Adding them up
by group beside it costs the kept columns' share of a weight gradient, and no forward pass: tens of
samples a group where extra passes would pay for a few.

Axes: b samples, k groups, p coordinates, 2 halves (every other scored sample of a group).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from dids.gradients.coordinates import Coordinates
from dids.gradients.layer_gradient import LayerGradient
from dids.gradients.layers import layer_gradients
from dids.gradients.model_state import sums_like
from dids.gradients.sample_rows import GroupSample, SampleRows
from dids.gradients.statistics import GradientStatistics, require_finite
from dids.gradients.token_spans import TokenSpans
from dids.ranks import sum_over_ranks_


class GroupedGradients:
    """Running sums by group.

    The gradients of a round are those of the parameters as they were at each of its steps: their
    mean is that over the round, not at its end.

    Args:
        model: The model that is trained.
        coordinates: Which entries to keep.
        num_groups: Length of the axis k.
    """

    def __init__(self, model: nn.Module, coordinates: Coordinates, num_groups: int) -> None:
        self.model = model
        self.coordinates = coordinates
        self._sum_2kp = torch.zeros(2, num_groups, coordinates.size, **sums_like(model))
        self._weight_2k = torch.zeros(2, num_groups, dtype=torch.float64)
        self._count_k = torch.zeros(num_groups, dtype=torch.int64)
        self._num_scored_k = torch.zeros(num_groups, dtype=torch.int64)
        self._rows = SampleRows(model, coordinates, num_groups)
        self.elapsed_s = 0.0
        """Seconds spent on adding up since ``clear``."""
        self._row_b = torch.zeros(0, dtype=torch.int64)
        """Of the sums of all halves of all groups, that of each sample of the batch."""
        self._member_nb: Tensor | None = None
        self._per_token = 1.0

    @contextmanager
    def collecting(
        self,
        group_b: Int64[Tensor, " b"],
        scored_b: Int64[Tensor, " b"],
        per_token: float,
        nth_b: Int64[Tensor, " b"] | None = None,
        *,
        spans: TokenSpans | None = None,
    ) -> Iterator[None]:
        """Add the gradients of one backward pass of a training step that runs inside.

        Args:
            group_b: The group of each sample of the batch.
            scored_b: Scored tokens of each sample, on the CPU like its group: what it weighs in its
                group's mean.
            per_token: What the loss multiplies each scored token's negative log-likelihood by:
                one over the number of tokens that it is a mean over.
            nth_b: Number of each sample among the scored samples of its group since ``clear``, over
                all ranks. None: there is one rank, and they are counted here.
            spans: Which tokens can have a gradient. None: all may.

        Yields:
            Nothing. ``.grad`` is filled as it would be outside.
        """
        if nth_b is None:
            nth_b = self._counted(group_b, scored_b)
        half_b = nth_b % 2
        self._row_b = half_b * len(self._count_k) + group_b
        self._count_k.index_add_(0, group_b, torch.ones_like(group_b))
        self._weight_2k.index_put_((half_b, group_b), scored_b.double(), accumulate=True)
        self._rows.begin_batch(group_b, scored_b, nth_b)
        self._member_nb = None
        if self._sum_2kp.is_cuda:  # beforehand: it would have to finish the pass for the numbers
            self._members()
            self._rows.locate()
        self._per_token = per_token
        with layer_gradients(
            self.model, self._receive, weight_gradients=True, spans=lambda: spans
        ):
            yield

    def statistics(self) -> list[GradientStatistics | None]:
        """Each group's mean gradient a scored token, and its halves; None where one half is empty.

        Raises:
            InputError: If a gradient is not finite.
        """
        require_finite(self._sum_2kp)
        groups: list[GradientStatistics | None] = []
        for group, count in enumerate(self._count_k.tolist()):
            weight_2 = self._weight_2k[:, group]
            if not bool((weight_2 > 0).all()):
                groups.append(None)
                continue
            weight_2 = weight_2.to(self._sum_2kp)
            found = GradientStatistics(
                halves_2p=self._sum_2kp[:, group] / weight_2.unsqueeze(1),
                weight_2=weight_2,
                square_p=None,
                losses_n=self._sum_2kp.new_zeros(0),
                num_samples=count,
            )
            groups.append(found)
        return groups

    def samples(self) -> list[GroupSample]:
        """Some samples of each group, by themselves: how far they differ."""
        pairs = zip(self._count_k.tolist(), self._weight_2k.sum(0).tolist(), strict=True)
        return [self._rows.of_group(k, count, weight) for k, (count, weight) in enumerate(pairs)]

    def sum_over_ranks(self) -> None:
        """Take the sums of all ranks; every rank must ask, and ``clear`` before it collects again.

        ``8 K P`` bytes and the rows go over the network, for K groups and P coordinates.
        """
        sum_over_ranks_(self._sum_2kp, self._weight_2k, self._count_k)
        self._rows.sum_over_ranks()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added since ``clear``."""
        return not bool(self._count_k.any())

    def tensors(self) -> dict[str, Tensor]:
        """The sums as they are, by name; plain sums, so those of several ranks may be added."""
        return {
            "sums": self._sum_2kp,
            "weights": self._weight_2k,
            "counts": self._count_k,
            **self._rows.tensors(),
        }

    def clear(self) -> None:
        """Begin a new round."""
        self.elapsed_s = 0.0
        self._rows.clear()
        self._sum_2kp.zero_()
        self._weight_2k.zero_()
        self._count_k.zero_()
        self._num_scored_k.zero_()

    def _counted(self, group_b: Tensor, scored_b: Tensor) -> Tensor:
        """Number of each sample among the scored ones of its group; any for one that is not."""
        numbers = []
        for group, scored in zip(group_b.tolist(), scored_b.tolist(), strict=True):
            numbers.append(int(self._num_scored_k[group]))
            self._num_scored_k[group] += scored > 0
        return torch.tensor(numbers, dtype=torch.int64)

    def _members(self) -> Tensor:
        """One where a sample, a column, belongs to a half of a group, a row."""
        if self._member_nb is None:
            num_samples = len(self._row_b)
            member_nb = torch.zeros(2 * len(self._count_k), num_samples)
            member_nb[self._row_b, torch.arange(num_samples)] = 1.0
            self._member_nb = member_nb.to(self._sum_2kp)
        return self._member_nb

    def _receive(self, layer: LayerGradient) -> None:
        slot = self.coordinates.slots.get(layer.name)
        if slot is None:
            return
        began_s = time.perf_counter()
        scale = 1.0 / self._per_token
        total_np = self._sum_2kp.flatten(0, 1)[:, slot.start : slot.stop]
        for start, gradient_bp in slot.in_blocks(layer, len(self._row_b), total_np.dtype):
            stop = start + len(gradient_bp)
            if total_np.is_cuda:  # index_add_ adds there in whatever order threads come
                total_np.addmm_(self._members()[:, start:stop], gradient_bp, alpha=scale)
            else:
                total_np.index_add_(0, self._row_b[start:stop], gradient_bp, alpha=scale)
            self._rows.add(start, slot, gradient_bp, scale=scale)
        self.elapsed_s += time.perf_counter() - began_s
