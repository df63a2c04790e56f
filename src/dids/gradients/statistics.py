"""Mean gradient, diagonal Fisher information and features of a set of samples, in one pass over it.

The diagonal Fisher information is the mean of squared PER-SAMPLE gradients. The square of a batch's
mean gradient, which is sometimes taken for it, is smaller by about the batch size and is another
quantity.

Axes: p coordinates, n samples, 2 halves (samples of even and of odd number), b samples of a batch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dids.errors import InputError
from dids.gradients.coordinates import Coordinates, Slot
from dids.gradients.gradient_pass import BatchRows, Labels, Receiver, gradient_pass
from dids.gradients.layer_gradient import (
    ALL_ROWS,
    ExpertGradient,
    LayerGradient,
    OuterGradient,
    PendingUses,
    RowGradient,
    VectorGradient,
    add_rows_,
    block_size,
)
from dids.gradients.model_state import sums_like

_CACHED_ENTRIES = 1 << 20
"""Of one sample's gradient that are squared while a CPU still has them in its cache."""
_WIDE = 512
"""From so many columns on products take as long with rows before columns."""


@dataclass(frozen=True, eq=False)
class GradientStatistics:
    """What a set of samples says about the loss around the current parameters."""

    halves_2p: Float[Tensor, "2 p"]
    """Means over the even-numbered and the odd-numbered samples: independent estimates, so that
    their inner product has no noise bias. A half without samples is zero."""
    weight_2: Float[Tensor, " 2"]
    """What the samples of each half weigh: their number, or that of their scored tokens."""
    square_p: Float[Tensor, " p"] | None
    """Mean squared per-sample gradient: the diagonal of the Fisher information."""
    losses_n: Float[Tensor, " n"]
    """Loss of each sample, on the data's labels."""
    num_samples: int

    @classmethod
    def nothing(cls, model: nn.Module, coordinates: Coordinates) -> "GradientStatistics":
        """Of no sample: zero everywhere, and without squares."""
        halves_2p = torch.zeros(2, coordinates.size, **sums_like(model))
        return cls(
            halves_2p,
            halves_2p.new_zeros(2),
            square_p=None,
            losses_n=halves_2p.new_zeros(0),
            num_samples=0,
        )

    @cached_property
    def mean_p(self) -> Float[Tensor, " p"]:
        """Mean per-sample gradient."""
        share_2 = self.weight_2 / self.weight_2.sum().clamp(min=1)
        return share_2 @ self.halves_2p


def require_finite(gradient: Tensor) -> None:
    """Stop where a gradient is no number.

    Raises:
        InputError: If an entry is not finite.
    """
    # A sum is finite only if all entries are, and is quick; that of huge entries may overflow.
    if not (bool(torch.isfinite(gradient.sum())) or bool(torch.isfinite(gradient).all())):
        raise InputError(
            "a gradient is not finite: the model has diverged; lower the learning rate."
        )


def gradient_statistics(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    coordinates: Coordinates,
    *,
    with_squares: bool,
    labels: Labels = "data",
    generator: torch.Generator | None = None,
    by_tokens: bool = False,
    receivers: Sequence[Receiver] = (),
) -> GradientStatistics:
    """Mean gradient, its two halves and, if asked, the diagonal Fisher information.

    Features, their mean and the whole Fisher information in feature space come out of the same
    pass: give a :class:`~dids.gradients.feature_moments.FeatureMoments` or a
    :class:`~dids.gradients.gradient_pass.FeatureReceiver` as receiver.

    Args:
        model: The model as it stands; ``.grad``, flags, mode and random state are left untouched.
        batches: ``input_ids``, ``labels`` and, when padded, ``attention_mask``, on the model's
            device.
        coordinates: Which entries to keep.
        with_squares: Whether to compute ``square_p``.
        labels: ``data`` for the empirical Fisher information, ``model`` for the true one, with
            labels drawn from the model's own predictions at the scored positions.
        generator: Source of those draws (on the CPU); seed 0 when None.
        by_tokens: Whether means weigh a sample by its scored tokens, as a trainer does whose loss
            is a mean over tokens. Not with squares: the Fisher information is a mean over samples.
        receivers: Others who get every layer's gradient in the same pass.

    Returns:
        The statistics, in float32 (float64 for a float64 model) on the model's device.

    Raises:
        InputError: If there is no sample, or a gradient is not finite.
    """
    if by_tokens and with_squares:
        raise ValueError("squares are means over samples; take them without by_tokens.")
    sums = _Sums(
        coordinates,
        sum_2p=torch.zeros(2, coordinates.size, **sums_like(model)),
        square_p=torch.empty(coordinates.size, **sums_like(model)) if with_squares else None,
    )
    losses_n = gradient_pass(
        model,
        batches,
        [sums, *receivers],
        labels=labels,
        generator=generator,
        by_tokens=by_tokens,
    )
    return sums.statistics(losses_n)


def fisher_diagonal(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    coordinates: Coordinates,
    *,
    labels: Labels = "data",
    generator: torch.Generator | None = None,
    receivers: Sequence[Receiver] = (),
) -> Float[Tensor, " p"]:
    """The diagonal Fisher information alone: ``square_p`` of :func:`gradient_statistics`.

    Args:
        model: As there, like all that follows.
        batches: The samples.
        coordinates: Which entries to keep.
        labels: ``data`` or ``model``.
        generator: Source of the draws for ``model``.
        receivers: Others who get every layer's gradient in the same pass.

    Returns:
        Mean squared per-sample gradient, in float32 (float64 for a float64 model).

    Raises:
        InputError: If there is no sample, or a gradient is not finite.
    """
    square_p = torch.empty(coordinates.size, **sums_like(model))
    sums = _Sums(coordinates, sum_2p=None, square_p=square_p)
    gradient_pass(model, batches, [sums, *receivers], labels=labels, generator=generator)
    sums.finish()
    require_finite(square_p)
    return square_p.div_(sums.num_samples)


@dataclass(eq=False)
class _Sums:
    """Running sums on the axis p, fed layer by layer.

    While sums grow, those of a narrow matrix with more rows than columns have columns before rows:
    its products take up to a tenth less time so.
    """

    coordinates: Coordinates
    sum_2p: Tensor | None
    square_p: Tensor | None
    """Empty memory at first: filling 28 MB of it with zeros takes 0.4 % of a pass."""
    weight_2: Tensor | None = None
    num_samples: int = 0
    batch_even: int = 0
    batch_size: int = 0
    pending: PendingUses = field(default_factory=PendingUses)
    buffer: Tensor | None = None
    is_columns_first: dict[str, bool] = field(default_factory=dict)
    """By parameter that has got something."""

    def begin(self, rows: BatchRows) -> None:
        """Count a batch's samples and what they weigh."""
        self.batch_even, self.batch_size = rows.num_even, len(rows.number_b)
        self.num_samples += self.batch_size
        halves = rows.weight_b[: rows.num_even], rows.weight_b[rows.num_even :]
        new_2 = torch.stack([weight_b.sum() for weight_b in halves])  # no number asked of a GPU yet
        self.weight_2 = new_2 if self.weight_2 is None else self.weight_2 + new_2

    def receive(self, layer: LayerGradient) -> None:
        """Wait until every use of a parameter has come, then add its gradients."""
        slot = self.coordinates.slots.get(layer.name)
        if slot is None:
            return
        uses = self.pending.completed(slot.restrict(layer))
        if uses is not None:
            self._add(uses)

    def end(self) -> None:
        """Add parameters one of whose uses never met the loss."""
        for uses in self.pending.rest():
            self._add(uses)

    def statistics(self, losses_n: Tensor) -> GradientStatistics:
        """What came out; the sums become the means."""
        assert self.sum_2p is not None and self.weight_2 is not None
        self.finish()
        require_finite(self.sum_2p)
        weight_2 = self.weight_2.to(self.sum_2p)
        return GradientStatistics(
            halves_2p=self.sum_2p.div_(weight_2.clamp(min=1).unsqueeze(1)),
            weight_2=weight_2,
            square_p=None if self.square_p is None else self.square_p.div_(self.num_samples),
            losses_n=losses_n,
            num_samples=self.num_samples,
        )

    def finish(self) -> None:
        """Rows before columns everywhere, and zeros where nothing came."""
        for name, slot in self.coordinates.slots.items():
            if name not in self.is_columns_first and self.square_p is not None:
                self.square_p[slot.start : slot.stop].zero_()
            if self.is_columns_first.pop(name, False):
                vectors = [] if self.square_p is None else [self.square_p]
                vectors += [] if self.sum_2p is None else list(self.sum_2p)
                for vector_p in vectors:
                    part_p = vector_p[slot.start : slot.stop]
                    part_p.copy_(part_p.view(*reversed(slot.shape)).T.reshape(-1))

    def _add(self, uses: list[LayerGradient]) -> None:
        name = uses[0].name
        slot, is_new = self.coordinates.slots[name], name not in self.is_columns_first
        if is_new:
            is_tall = len(slot.shape) == 2 and slot.shape[1] < min(slot.shape[0], _WIDE)
            is_outer = len(uses) == 1 and isinstance(uses[0], OuterGradient)
            # Rows of a tied embedding are added; some columns alone lie so anyway.
            self.is_columns_first[name] = is_tall and is_outer and slot.columns is None
        if self.square_p is not None and (len(uses) > 1 or isinstance(uses[0], OuterGradient)):
            self._add_samples(uses, slot, is_new)
            return
        if self.sum_2p is not None:
            self._add_halves(self.sum_2p, uses, slot)
        if self.square_p is not None:
            self._add_squares(self.square_p, uses[0], slot, is_new)

    def _add_halves(self, sum_2p: Tensor, uses: list[LayerGradient], slot: Slot) -> None:
        """Sums over samples alone: one product for each half."""
        for half, (start, stop) in enumerate(
            ((0, self.batch_even), (self.batch_even, self.batch_size))
        ):
            if start == stop:
                continue
            total = self._shaped(sum_2p[half, slot.start : slot.stop], uses[0].name)
            for layer in uses:
                layer.add_samples_(total, start, stop)

    def _add_samples(self, uses: list[LayerGradient], slot: Slot, is_new: bool) -> None:
        """Sums and squares: one sample at a time, in a scratch tensor of the kept shape."""
        assert self.square_p is not None
        square_p = self.square_p[slot.start : slot.stop]
        block = block_size(len(square_p), square_p.device)
        if block > 1:
            self._add_blocks(uses, slot, is_new, block)
            return
        for part, rows in self._parts(slot, uses[0].name):
            entry_p = self._scratch(square_p[part])
            whole = rows == ALL_ROWS
            gradient = (
                self._shaped(entry_p, uses[0].name) if whole else entry_p.view(-1, *slot.shape[1:])
            )
            for sample in range(self.batch_size):
                for number, layer in enumerate(uses):
                    layer.add_sample_(gradient, sample, is_first=number == 0, rows=rows)
                if self.sum_2p is not None:
                    half = 0 if sample < self.batch_even else 1
                    self.sum_2p[half, slot.start : slot.stop][part].add_(entry_p)
                if is_new and sample == 0:
                    torch.mul(entry_p, entry_p, out=square_p[part])
                else:
                    square_p[part].addcmul_(entry_p, entry_p)

    def _parts(self, slot: Slot, name: str) -> Iterator[tuple[slice, slice]]:
        """Entries and rows of a parameter that are looked at together: as many as the cache has.

        The squares of a head take a tenth of their time less so.
        """
        num_entries = slot.stop - slot.start
        row_entries = num_entries // slot.shape[0]
        step = max(1, _CACHED_ENTRIES // row_entries)
        if slot.columns is not None or self.is_columns_first[name] or step >= slot.shape[0]:
            yield slice(0, num_entries), ALL_ROWS
            return
        for first in range(0, slot.shape[0], step):
            last = min(first + step, slot.shape[0])
            yield slice(first * row_entries, last * row_entries), slice(first, last)

    def _add_blocks(self, uses: list[LayerGradient], slot: Slot, is_new: bool, block: int) -> None:
        """The same, several samples at a time."""
        assert self.square_p is not None
        square_p = self.square_p[slot.start : slot.stop]
        if is_new:
            square_p.zero_()
        for start in range(0, self.batch_size, block):
            stop = min(start + block, self.batch_size)
            entry_bp = square_p.new_empty(stop - start, len(square_p))
            gradient_bui = self._shaped(entry_bp, uses[0].name)
            for number, layer in enumerate(uses):
                layer.add_block_(gradient_bui, start, stop, is_first=number == 0)
            if self.sum_2p is not None:
                middle = min(max(self.batch_even, start), stop) - start
                for half, part_bp in enumerate((entry_bp[:middle], entry_bp[middle:])):
                    self.sum_2p[half, slot.start : slot.stop].add_(part_bp.sum(0))
            square_p.add_(entry_bp.square_().sum(0))

    def _add_squares(
        self, square_p: Tensor, layer: LayerGradient, slot: Slot, is_new: bool
    ) -> None:
        """Squares that need no whole gradient: a vector's, an embedding's, experts'."""
        square = self._shaped(square_p[slot.start : slot.stop], layer.name)
        if is_new:
            square.zero_()
        if isinstance(layer, VectorGradient):
            square.add_(layer.gradient_bo.square().sum(0))
        elif isinstance(layer, ExpertGradient):
            layer.add_squares_(square)
        elif isinstance(layer, RowGradient):
            add_rows_(square, *layer.sum_of_squares())

    def _shaped(self, part_p: Tensor, name: str) -> Tensor:
        """A parameter's entries, which stand last, in its kept shape."""
        slot = self.coordinates.slots[name]
        if self.is_columns_first[name]:
            return part_p.view(*part_p.shape[:-1], *reversed(slot.shape)).mT
        return slot.shaped(part_p)

    def _scratch(self, like_p: Tensor) -> Tensor:
        """Memory for one parameter's gradient, used again: fresh pages would cost as much."""
        if self.buffer is None or len(self.buffer) < len(like_p):
            self.buffer = torch.empty_like(like_p)
        return self.buffer[: len(like_p)]
