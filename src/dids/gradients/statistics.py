"""Mean gradient, diagonal Fisher information and features of a set of samples, in one pass over it.

The diagonal Fisher information is the mean of squared PER-SAMPLE gradients. The square of a batch's
mean gradient, which is sometimes taken for it, is smaller by about the batch size and is another
quantity.

Axes: p coordinates, n samples, 2 halves (samples of even and of odd number), b samples of a batch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dids.errors import InputError
from dids.gradients.coordinates import Coordinates, Slot
from dids.gradients.gradient_pass import BatchRows, Labels, Receiver, gradient_pass
from dids.gradients.layer_gradient import LayerGradient, RowGradient, VectorGradient
from dids.gradients.model_state import sums_like


@dataclass(frozen=True, eq=False)
class GradientStatistics:
    """What a set of samples says about the loss around the current parameters."""

    mean_p: Float[Tensor, " p"]
    """Mean per-sample gradient."""
    halves_2p: Float[Tensor, "2 p"]
    """Means over the even-numbered and the odd-numbered samples: independent estimates, so that
    their inner product has no noise bias. A half without samples is zero."""
    square_p: Float[Tensor, " p"] | None
    """Mean squared per-sample gradient: the diagonal of the Fisher information."""
    losses_n: Float[Tensor, " n"]
    """Loss of each sample, on the data's labels."""
    num_samples: int

    @classmethod
    def nothing(cls, model: nn.Module, coordinates: Coordinates) -> "GradientStatistics":
        """Of no sample: zero everywhere."""
        sum_2p = torch.zeros(2, coordinates.size, **sums_like(model))
        weight_2, losses_n = sum_2p.new_zeros(2), sum_2p.new_zeros(0)
        return cls.of_sums(sum_2p, weight_2, square_p=None, losses_n=losses_n, num_samples=0)

    @classmethod
    def of_sums(
        cls,
        sum_2p: Float[Tensor, "2 p"],
        weight_2: Float[Tensor, " 2"],
        *,
        square_p: Float[Tensor, " p"] | None,
        losses_n: Float[Tensor, " n"],
        num_samples: int,
    ) -> "GradientStatistics":
        """The means of two halves' weighted sums."""
        mean_p = sum_2p.sum(0) / weight_2.sum().clamp(min=1)
        halves_2p = sum_2p / weight_2.clamp(min=1).unsqueeze(1)
        return cls(mean_p, halves_2p, square_p, losses_n, num_samples)


def require_finite(gradient: Tensor) -> None:
    """Stop where a gradient is no number.

    Raises:
        InputError: If an entry is not finite.
    """
    if not bool(torch.isfinite(gradient).all()):
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
    sums = _Sums.zeros(model, coordinates, with_squares)
    losses_n = gradient_pass(
        model,
        batches,
        [sums, *receivers],
        labels=labels,
        generator=generator,
        by_tokens=by_tokens,
    )
    return sums.statistics(losses_n)


@dataclass(eq=False)
class _Sums:
    """Running sums on the axis p, fed layer by layer."""

    coordinates: Coordinates
    sum_2p: Tensor
    square_p: Tensor | None
    weight_2: list[float] = field(default_factory=lambda: [0.0, 0.0])
    num_samples: int = 0
    batch_even: int = 0
    batch_size: int = 0
    pending: dict[str, list[LayerGradient]] = field(default_factory=dict)
    buffer: Tensor | None = None

    @classmethod
    def zeros(cls, model: nn.Module, coordinates: Coordinates, with_squares: bool) -> "_Sums":
        sum_2p = torch.zeros(2, coordinates.size, **sums_like(model))
        return cls(coordinates, sum_2p, torch.zeros_like(sum_2p[0]) if with_squares else None)

    def begin(self, rows: BatchRows) -> None:
        """Count a batch's samples and what they weigh."""
        self.batch_even, self.batch_size = rows.num_even, len(rows.number_b)
        self.num_samples += self.batch_size
        self.weight_2[0] += float(rows.weight_b[: rows.num_even].sum())
        self.weight_2[1] += float(rows.weight_b[rows.num_even :].sum())

    def receive(self, layer: LayerGradient) -> None:
        """Wait until every use of a parameter has come, then add its gradients."""
        slot = self.coordinates.slots.get(layer.name)
        if slot is None:
            return
        uses = self.pending.setdefault(layer.name, [])
        layer = slot.restrict(layer)
        uses.append(layer)
        if len(uses) == layer.num_uses:
            self._add(self.pending.pop(layer.name))

    def end(self) -> None:
        """Add parameters one of whose uses never met the loss."""
        for uses in self.pending.values():
            self._add(uses)
        self.pending = {}

    def statistics(self, losses_n: Tensor) -> GradientStatistics:
        found = GradientStatistics.of_sums(
            self.sum_2p,
            self.sum_2p.new_tensor(self.weight_2),
            square_p=None if self.square_p is None else self.square_p / self.num_samples,
            losses_n=losses_n,
            num_samples=self.num_samples,
        )
        require_finite(found.mean_p)
        return found

    def _add(self, uses: list[LayerGradient]) -> None:
        slot = self.coordinates.slots[uses[0].name]
        if self.square_p is None:
            self._add_halves(uses, slot)
        elif len(uses) == 1 and isinstance(uses[0], VectorGradient):
            self._add_halves(uses, slot)
            self._square(slot).add_(uses[0].gradient_bo.square().sum(0))
        elif len(uses) == 1 and isinstance(uses[0], RowGradient):
            self._add_halves(uses, slot)
            self._add_row_squares(uses[0], slot)
        else:
            self._add_samples(uses, slot)

    def _add_halves(self, uses: list[LayerGradient], slot: Slot) -> None:
        """Sums over samples alone: one product for each half."""
        for half, (start, stop) in enumerate(
            ((0, self.batch_even), (self.batch_even, self.batch_size))
        ):
            if start == stop:
                continue
            total_p = self.sum_2p[half, slot.start : slot.stop]
            for layer in uses:
                layer.add_samples_(total_p.view(slot.kept_shape), start, stop)

    def _add_samples(self, uses: list[LayerGradient], slot: Slot) -> None:
        """Sums and squares: one sample at a time, in a scratch tensor of the kept shape."""
        gradient, square_p = self._scratch(slot), self._square(slot)
        for sample in range(self.batch_size):
            for number, layer in enumerate(uses):
                layer.add_sample_(gradient, sample, is_first=number == 0)
            entry_p = gradient.view(-1)
            half = 0 if sample < self.batch_even else 1
            self.sum_2p[half, slot.start : slot.stop].add_(entry_p)
            square_p.addcmul_(entry_p, entry_p)

    def _add_row_squares(self, layer: RowGradient, slot: Slot) -> None:
        """An embedding's squares: only the rows of a sample's own tokens."""
        square = self._square(slot).view(slot.kept_shape)
        for row_t, value_ti in zip(layer.row_bt, layer.value_bti, strict=True):
            row_u, place_t = row_t.unique(return_inverse=True)
            gradient_ui = value_ti.new_zeros(len(row_u), value_ti.shape[1])
            gradient_ui.index_add_(0, place_t, value_ti)
            square.index_add_(0, row_u, gradient_ui.square_())

    def _square(self, slot: Slot) -> Tensor:
        assert self.square_p is not None
        return self.square_p[slot.start : slot.stop]

    def _scratch(self, slot: Slot) -> Tensor:
        size = slot.stop - slot.start
        if self.buffer is None or self.buffer.numel() < size:
            self.buffer = self.sum_2p.new_empty(size)
        return self.buffer[:size].view(slot.kept_shape)
