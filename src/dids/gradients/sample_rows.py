"""Gradients of a few samples of each group, each by itself: how far samples of a group differ.

Means say nothing of their own error. A few rows do: the variance of whatever is measured on them,
over the number of samples, is that of the mean. They are kept in bfloat16, three digits, which is
more than an error needs.

Axes: k groups, r rows of a group, b samples of a batch, m those that are kept, p coordinates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Num
from torch import Tensor, nn

from dids.gradients.coordinates import Coordinates, Slot
from dids.gradients.model_state import sums_like
from dids.ranks import sum_over_ranks_

ROWS = 8
"""Rows of a group: seven degrees of freedom put a quarter of error on an error."""
MAX_BYTES = 2**28
"""All rows together, at most; with many groups fewer are kept of each."""
RowLengths = Callable[[Float[Tensor, "r p"]], Float[Tensor, " r"]]
"""What the length of a gradient is, for rows of gradients."""


@dataclass(frozen=True, eq=False)
class GroupSample:
    """Some samples of a group, out of those that its mean is made of.

    Attributes:
        row_rp: Their gradients, each times its weight in the mean, in bfloat16; of several ranks
            one has a row, and on the others it is zero.
        weight_r: These weights.
        num_samples: Samples that the mean is made of.
        total_weight: Sum of all their weights.
    """

    row_rp: Float[Tensor, "r p"]
    weight_r: Float[Tensor, " r"]
    num_samples: int
    total_weight: float


class SampleRows:
    """The first rows of every group.

    Args:
        model: Says where the rows lie.
        coordinates: Which entries to keep.
        num_groups: Length of the axis k.
        rows: How many to keep of each group, at least two; fewer where they would not fit.
        max_bytes: Of all rows together. None: ``MAX_BYTES``.
    """

    def __init__(
        self,
        model: nn.Module,
        coordinates: Coordinates,
        num_groups: int,
        rows: int = ROWS,
        max_bytes: int | None = None,
    ) -> None:
        self.coordinates = coordinates
        fitting = (max_bytes or MAX_BYTES) // (2 * max(1, num_groups * coordinates.size))
        self.rows = max(2, min(rows, fitting))
        self._like = sums_like(model)
        shape = num_groups, self.rows, coordinates.size
        self._row_krp = torch.zeros(*shape, dtype=torch.bfloat16, device=self._like["device"])
        self._weight_kr = torch.zeros(num_groups, self.rows)
        self._count_k = torch.zeros(num_groups, dtype=torch.int64)
        self._place_b: list[tuple[int, int] | None] = []
        self._chosen: Tensor | None = None

    def begin_batch(
        self,
        group_b: Int64[Tensor, " b"],
        weight_b: Num[Tensor, " b"],
        nth_b: Int64[Tensor, " b"],
    ) -> None:
        """Say whose gradients come next.

        Args:
            group_b: The group of each sample of the batch.
            weight_b: What each weighs in its group's mean; samples of weight 0 are passed over.
            nth_b: Number of each among the samples of its group, over all ranks.
        """
        self._place_b = []
        numbers = group_b.tolist(), weight_b.tolist(), nth_b.tolist()
        for group, weight, row in zip(*numbers, strict=True):
            if weight == 0 or row >= self.rows:
                self._place_b.append(None)
                continue
            self._place_b.append((group, row))
            self._weight_kr[group, row] = weight
            self._count_k[group] += 1
        self._chosen = None

    def locate(self) -> Int64[Tensor, "m 2"]:
        """Samples of the batch whose rows are kept, and their rows, all groups end to end."""
        if self._chosen is None:
            pairs = enumerate(self._place_b)
            kept = [(b, at[0] * self.rows + at[1]) for b, at in pairs if at is not None]
            self._chosen = torch.tensor(kept, dtype=torch.int64, device=self._row_krp.device).view(
                -1, 2
            )
        return self._chosen

    def add(
        self, start: int, slot: Slot, gradient_bp: Float[Tensor, "b p"], *, scale: float = 1.0
    ) -> None:
        """Some samples' gradients of one use of one parameter, as far as their rows are kept.

        Args:
            start: The first sample's number in the batch.
            slot: Of the parameter.
            gradient_bp: What is kept of each sample's gradient.
            scale: What it is multiplied by.
        """
        if not any(self._place_b):
            return
        sample_m, place_m = self.locate().unbind(1)
        if len(gradient_bp) < len(self._place_b):
            is_here_m = (sample_m >= start) & (sample_m < start + len(gradient_bp))
            sample_m, place_m = sample_m[is_here_m], place_m[is_here_m]
        part = self._row_krp.flatten(0, 1)[:, slot.start : slot.stop]
        row_mp = gradient_bp.to(part.dtype)
        if len(sample_m) < len(row_mp):
            row_mp = row_mp[sample_m - start]
        if part.is_cuda:  # no place comes twice: nothing depends on an order
            part[place_m] += row_mp * scale
        else:
            add_to_rows_(part, place_m, row_mp, scale)

    def of_group(self, group: int, num_samples: int, total_weight: float) -> "GroupSample":
        """What is kept of a group whose mean is over so many samples of this weight together.

        It is a view: it holds until ``tensors`` are written over.
        """
        count = int(self._count_k[group])
        rows, weights = self._row_krp[group, :count], self._weight_kr[group, :count]
        return GroupSample(rows, weights.clone(), num_samples, total_weight)

    def count_over_ranks(self) -> None:
        """Take weights and counts of all ranks; every rank must ask.

        A row stays on the rank that has it, and is zero on the others.
        """
        sum_over_ranks_(self._weight_kr, self._count_k)

    def leave_to_others(self) -> None:
        """Make every row zero: another rank has the same ones."""
        self._row_krp.zero_()

    def shorten(self, length_of: RowLengths, *, is_divided: bool) -> None:
        """No row longer than the median of its group's, of rows that are not zero.

        Args:
            length_of: What a row's length is.
            is_divided: Whether every rank has rows of its own, and not all the same; every rank
                must ask then.
        """
        length_kr = torch.stack([length_of(row_rp.float()) for row_rp in self._row_krp])
        if is_divided:
            sum_over_ranks_(length_kr)  # a row is on one rank, and zero on the others
        factor_kr = median_factors(length_kr)
        for row_rp, factor_r in zip(self._row_krp, factor_kr, strict=True):
            row_rp.mul_(factor_r[:, None])

    def sums(self, group: int) -> tuple[Float[Tensor, "2 p"], Float[Tensor, " p"]]:
        """A group's sums of the rows that are here, by halves, and of their squares."""
        row_rp = self._row_krp[group].to(self._like["dtype"])
        halves = row_rp[0::2].sum(0), row_rp[1::2].sum(0)
        return torch.stack(halves), row_rp.square_().sum(0)

    def tensors(self) -> dict[str, Tensor]:
        """All that is kept, by name: to be saved, or written over."""
        return {"rows": self._row_krp, "row_weights": self._weight_kr, "row_counts": self._count_k}


def median_factors(length_kr: Float[Tensor, "k r"]) -> Float[Tensor, "k r"]:
    """What leaves no length of a group above the median of those that are not zero.

    Example:
        >>> median_factors(torch.tensor([[1.0, 2.0, 8.0, 0.0]]))
        tensor([[1.0000, 1.0000, 0.2500, 1.0000]])
    """
    median_k1 = length_kr.where(length_kr > 0, torch.nan).nanmedian(dim=1, keepdim=True).values
    return (median_k1 / length_kr).nan_to_num(1.0, posinf=1.0).clamp(max=1.0)


def add_to_rows_(
    total_np: Float[Tensor, "n p"],
    row_b: Int64[Tensor, " b"],
    value_bp: Float[Tensor, "b p"],
    scale: float,
) -> None:
    """Add a few long vectors to rows of a matrix, on a CPU.

    Args:
        total_np: The matrix.
        row_b: Rows, which may repeat.
        value_bp: What is added to each.
        scale: What that is multiplied by.
    """
    if scale != 1.0:
        total_np.index_add_(0, row_b, value_bp, alpha=scale)
        return
    # Without a factor index_add_ goes entry by entry: ten times as long, in bfloat16 a hundred.
    for row, value_p in zip(row_b.tolist(), value_bp, strict=True):
        total_np[row].add_(value_p)
