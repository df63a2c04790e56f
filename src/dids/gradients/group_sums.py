"""Sums of samples' gradients by group: two halves, squares, and some samples by themselves.

Axes: b samples of a batch, n samples of a pass, k groups, p coordinates, 2 halves (every other
sample of a group).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int64, Num
from torch import Tensor, nn

from dids.gradients.coordinates import Coordinates, Slot
from dids.gradients.gradient_pass import BatchRows
from dids.gradients.layer_gradient import LayerGradient, PendingUses
from dids.gradients.model_state import sums_like
from dids.gradients.sample_rows import GroupSample, RowLengths, SampleRows, add_to_rows_
from dids.gradients.statistics import GradientStatistics, require_finite
from dids.ranks import sum_over_ranks_


class GroupSums:
    """Running sums by group, fed one use of one parameter at a time.

    Args:
        model: Says where the sums lie.
        coordinates: Which entries to keep.
        num_groups: Length of the axis k.
        rows: Keeps some samples of each group by themselves. None: as many as usual.
        with_squares: Whether squares are summed up, too.
    """

    def __init__(
        self,
        model: nn.Module,
        coordinates: Coordinates,
        num_groups: int,
        *,
        rows: SampleRows | None = None,
        with_squares: bool = False,
    ) -> None:
        like = sums_like(model)
        self.coordinates = coordinates
        self._rows = rows or SampleRows(model, coordinates, num_groups)
        self._sum_2kp = torch.zeros(2, num_groups, coordinates.size, **like)
        self._square_kp = (
            torch.zeros(num_groups, coordinates.size, **like) if with_squares else None
        )
        self._weight_2k = torch.zeros(2, num_groups, dtype=torch.float64)
        self._count_k = torch.zeros(num_groups, dtype=torch.int64)
        self._group_b = torch.zeros(0, dtype=torch.int64)
        self._half_b = torch.zeros(0, dtype=torch.int64)
        self._member_nb: Tensor | None = None

    def begin_batch(
        self,
        group_b: Int64[Tensor, " b"],
        weight_b: Num[Tensor, " b"],
        nth_b: Int64[Tensor, " b"],
    ) -> None:
        """Say whose gradients come next; all on the CPU.

        Args:
            group_b: The group of each sample of the batch.
            weight_b: What each weighs in its group's mean.
            nth_b: Number of each among the samples of its group, over all ranks.
        """
        self._group_b, self._half_b = group_b, nth_b % 2
        self._count_k.index_add_(0, group_b, torch.ones_like(group_b))
        self._weight_2k.index_put_((self._half_b, group_b), weight_b.double(), accumulate=True)
        self._rows.begin_batch(group_b, weight_b, nth_b)
        self._member_nb = None
        if self._sum_2kp.is_cuda:  # beforehand: it would have to finish the pass for the numbers
            self._members()
            self._rows.locate()

    def add(self, uses: Sequence[LayerGradient], *, scale: float = 1.0) -> None:
        """Add the batch's gradients of some uses of one parameter.

        Args:
            uses: At least one; for squares all that there are.
            scale: What they are multiplied by.
        """
        slot = self.coordinates.slots.get(uses[0].name)
        if slot is None:
            return
        for start, gradient_bp in slot.in_blocks(uses, len(self._group_b), self._sum_2kp.dtype):
            here = slice(start, start + len(gradient_bp))
            self._add_block(slot, here, gradient_bp, scale)
            self._rows.add(start, slot, gradient_bp, scale=scale)
            if self._square_kp is not None:
                total_kp = self._square_kp[:, slot.start : slot.stop]
                self._add_squares(total_kp, here, gradient_bp.square_(), scale**2)

    def _add_block(self, slot: Slot, here: slice, gradient_bp: Tensor, scale: float) -> None:
        total_np = self._sum_2kp.flatten(0, 1)[:, slot.start : slot.stop]
        if total_np.is_cuda:  # index_add_ adds there in whatever order threads come
            total_np.addmm_(self._members()[:, here], gradient_bp, alpha=scale)
        else:
            row_b = self._half_b[here] * len(self._count_k) + self._group_b[here]
            add_to_rows_(total_np, row_b, gradient_bp, scale)

    def _add_squares(self, total_kp: Tensor, here: slice, square_bp: Tensor, scale: float) -> None:
        if total_kp.is_cuda:
            member_2kb = self._members()[:, here].view(2, len(self._count_k), -1)
            total_kp.addmm_(member_2kb.sum(0), square_bp, alpha=scale)
        else:
            add_to_rows_(total_kp, self._group_b[here], square_bp, scale)

    def _members(self) -> Tensor:
        """One where a sample, a column, belongs to a half of a group, a row."""
        if self._member_nb is None:
            num_samples, num_groups = len(self._group_b), len(self._count_k)
            member_nb = torch.zeros(2 * num_groups, num_samples)
            row_b = self._half_b * num_groups + self._group_b
            member_nb[row_b, torch.arange(num_samples)] = 1.0
            self._member_nb = member_nb.to(self._sum_2kp)
        return self._member_nb

    def statistics(self) -> list[GradientStatistics]:
        """Each group's mean gradient by halves, of which one without samples is zero.

        Raises:
            InputError: If a gradient is not finite.
        """
        require_finite(self._sum_2kp)
        weight_2k = self._weight_2k.to(self._sum_2kp)
        mean_2kp = self._sum_2kp / weight_2k.clamp(min=1).unsqueeze(2)
        counts = self._count_k.tolist()
        return [
            GradientStatistics(
                halves_2p=mean_2kp[:, group],
                weight_2=weight_2k[:, group],
                square_p=None
                if self._square_kp is None
                else self._square_kp[group] / max(1, count),
                losses_n=mean_2kp.new_zeros(0),
                num_samples=count,
            )
            for group, count in enumerate(counts)
        ]

    def samples(self) -> list[GroupSample]:
        """Some samples of each group, by themselves: how far they differ."""
        pairs = zip(self._count_k.tolist(), self._weight_2k.sum(0).tolist(), strict=True)
        return [self._rows.of_group(k, count, weight) for k, (count, weight) in enumerate(pairs)]

    def sum_over_ranks(self) -> None:
        """Take the sums of all ranks; every rank must ask, once. Rows stay where they are."""
        sum_over_ranks_(self._sum_2kp, self._weight_2k, self._count_k)
        if self._square_kp is not None:
            sum_over_ranks_(self._square_kp)
        self._rows.count_over_ranks()

    def shorten(self, num_samples: int, length_of: RowLengths, *, is_divided: bool) -> None:
        """Make no sample's gradient longer than the median of its group's.

        Before the sums of all ranks are taken. Sums are those of the kept rows then, which have
        three digits. Where not every sample is kept, all stays as it is.

        Args:
            num_samples: Of the largest group, over all ranks.
            length_of: What a gradient's length is.
            is_divided: Whether every rank has samples of its own; every rank must ask then.
        """
        if num_samples <= self._rows.rows:
            self._rows.shorten(length_of, is_divided=is_divided)
            for group in range(len(self._count_k)):
                self._sum_2kp[:, group], square_p = self._rows.sums(group)
                if self._square_kp is not None:
                    self._square_kp[group] = square_p

    @property
    def is_empty(self) -> bool:
        """Whether there was no batch since ``clear``."""
        return not bool(self._count_k.any())

    def tensors(self) -> dict[str, Tensor]:
        """The sums as they are, by name; plain sums, so those of several ranks may be added."""
        squares = {} if self._square_kp is None else {"squares": self._square_kp}
        return {
            "sums": self._sum_2kp,
            "weights": self._weight_2k,
            "counts": self._count_k,
            **squares,
            **self._rows.tensors(),
        }

    def clear(self) -> None:
        """Begin anew."""
        for tensor in self.tensors().values():
            tensor.zero_()


class GroupReceiver:
    """A :class:`~dids.gradients.gradient_pass.Receiver` for samples of several groups.

    Args:
        sums: Of the groups.
        group_n: The group of each sample of the pass.
        nth_n: Number of each among the samples of its group, over all ranks.
    """

    def __init__(
        self, sums: GroupSums, group_n: Int64[Tensor, " n"], nth_n: Int64[Tensor, " n"]
    ) -> None:
        self.sums = sums
        self.group_n = group_n
        self.nth_n = nth_n
        self._pending = PendingUses()

    def begin(self, rows: BatchRows) -> None:
        """A batch whose samples may be of several groups."""
        number_b = rows.number_b
        self.sums.begin_batch(self.group_n[number_b], rows.weight_b.cpu(), self.nth_n[number_b])

    def receive(self, layer: LayerGradient) -> None:
        """One use of one parameter, which the pass has weighted; all are added together."""
        uses = self._pending.completed(layer)
        if uses is not None:
            self.sums.add(uses)

    def end(self) -> None:
        """Add parameters one of whose uses never met the loss."""
        for uses in self._pending.rest():
            self.sums.add(uses)
