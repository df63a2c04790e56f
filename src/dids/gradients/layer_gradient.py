"""What one use of one parameter contributes to the gradient of each sample, in factored form.

A linear layer's gradient is a sum of outer products over tokens, and so is an expert's over those
that come to it; an embedding's is a sum of rows, a bias's or a norm's a short vector. The full
per-sample gradient of a model never exists at once.

Under autocast the factors keep the short precision that the layers themselves multiplied in, and
whatever is summed up from them is float32: casting all factors beforehand was a tenth of a pass.

Axes: b samples, t tokens, s visits of tokens to experts, o rows and i columns of the parameter (an
embedding's rows are tokens).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

_BLOCK_ENTRIES = 1 << 24

ALL_ROWS = slice(None)


def matrix_shape(parameter: Tensor) -> tuple[int, ...]:
    """The shape of a vector or a matrix; of experts' matrices, one below the other.

    Example:
        >>> matrix_shape(torch.zeros(8, 4, 3))
        (32, 3)
    """
    shape = tuple(parameter.shape)
    return shape if len(shape) < 3 else (math.prod(shape[:-1]), shape[-1])


def block_size(num_entries: int, device: torch.device) -> int:
    """Samples whose gradients of one parameter exist at once, where each must be looked at.

    Args:
        num_entries: Of the parameter.
        device: Where the gradients lie.

    Returns:
        One on a CPU, where it stays in the cache; on a GPU, which would wait for every launch, what
        64 MB hold.
    """
    return max(1, _BLOCK_ENTRIES // num_entries) if device.type == "cuda" else 1


def add_rows_(total_ui: Tensor, row_n: Int64[Tensor, " n"], value_ni: Float[Tensor, "n i"]) -> None:
    """Add values to rows of a matrix, in an order that does not change from one time to the next.

    Args:
        total_ui: The matrix.
        row_n: Rows, which may repeat.
        value_ni: What is added to each.
    """
    if total_ui.is_cuda:  # index_add_ adds there in whatever order threads come
        total_ui.index_put_((row_n,), value_ni, accumulate=True)
    else:
        total_ui.index_add_(0, row_n, value_ni)


def products(left_bot: Tensor, right_bti: Tensor) -> Float[Tensor, "b o i"]:
    """Products of matrices, summed up in float32 whatever precision the factors have.

    Args:
        left_bot: The left factors.
        right_bti: The right ones.

    Returns:
        Float32, or float64 of float64 factors. A GPU multiplies bfloat16 factors as they are.
    """
    is_short = left_bot.dtype == right_bti.dtype == torch.bfloat16
    if is_short and left_bot.is_cuda and _GIVES_FLOAT32:
        return torch.bmm(left_bot, right_bti, out_dtype=torch.float32)
    return torch.bmm(wide(left_bot), wide(right_bti))


_GIVES_FLOAT32 = hasattr(torch.ops.aten.bmm, "dtype")
"""Since PyTorch 2.8."""


def wide(tensor: Tensor) -> Tensor:
    """Float32 for everything shorter, so that sums under autocast keep their digits."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _outer_gram_product(left_to: Tensor, right_ti: Tensor, basis_im: Tensor) -> Tensor:
    left_to, right_ti = left_to.double(), right_ti.double()
    return right_ti.T @ (left_to @ (left_to.T @ (right_ti @ basis_im)))


@dataclass(frozen=True, eq=False)
class LayerGradient(ABC):
    """One use of one parameter in one backward pass."""

    name: str
    """The parameter's name in the model; two uses of a tied parameter share the first name."""
    num_uses: int
    """How often this forward pass used the parameter: sum that many before squaring."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the gradient lies."""

    @abstractmethod
    def add_sample_(
        self, gradient: Tensor, sample: int, *, is_first: bool, rows: slice = ALL_ROWS
    ) -> None:
        """Add one sample's gradient to a parameter-shaped tensor, or overwrite it with it.

        Args:
            gradient: Of the parameter's shape, or of some of its rows.
            sample: Which.
            is_first: Whether to overwrite.
            rows: Which rows ``gradient`` has, from one to before another.
        """

    @abstractmethod
    def add_block_(self, gradient_bui: Tensor, start: int, stop: int, *, is_first: bool) -> None:
        """Add each of several samples' gradients to its own tensor, or overwrite them."""

    @abstractmethod
    def add_samples_(self, gradient: Tensor, start: int, stop: int) -> None:
        """Add the summed gradient of samples ``start`` to ``stop``."""


@dataclass(frozen=True, eq=False)
class MatrixGradient(LayerGradient):
    """One of a parameter with rows and columns; experts' matrices are one below the other."""

    @property
    @abstractmethod
    def num_samples(self) -> int:
        """Of the batch."""

    @property
    @abstractmethod
    def num_columns(self) -> int:
        """Of the parameter, or as many as are left of them."""

    @abstractmethod
    def with_columns(self, columns: Int64[Tensor, " kept"]) -> "MatrixGradient":
        """The same of these columns alone, as if the parameter had no others."""

    @abstractmethod
    def gram_product(self, sample: int, basis_im: Float64[Tensor, "i m"]) -> Float64[Tensor, "i m"]:
        """``GᵀG V`` of one sample's gradient G, which itself never exists.

        Args:
            sample: Which.
            basis_im: V, on the gradient's device.
        """


class PendingUses:
    """Uses of parameters that wait until all of the parameter's have come: their sum is squared."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[LayerGradient]] = {}

    def completed(self, layer: LayerGradient) -> list[LayerGradient] | None:
        """All uses of a parameter with its last one; None while some are missing."""
        uses = self._by_name.setdefault(layer.name, [])
        uses.append(layer)
        return self._by_name.pop(layer.name) if len(uses) == layer.num_uses else None

    def rest(self) -> list[list[LayerGradient]]:
        """Of parameters one of whose uses never met the loss, those that did."""
        left = list(self._by_name.values())
        self._by_name = {}
        return left


@dataclass(frozen=True, eq=False)
class OuterGradient(MatrixGradient):
    """A matrix whose gradient is the sum over tokens of ``left_t right_tᵀ``: linear layers."""

    left_bto: Float[Tensor, "b t o"]
    """For ``nn.Linear`` the gradient at the output, in the precision it has there."""
    right_bti: Float[Tensor, "b t i"]
    """For ``nn.Linear`` the input activation, in the precision the layer multiplied in."""
    span_b: Sequence[tuple[int, int]] | None = None
    """For each sample, the tokens outside of which ``left_t`` is zero; None: it may be nowhere."""
    columns: Int64[Tensor, " kept"] | None = None
    """Of ``right_bti``, where others are left out; None: there are no others."""

    @property
    def device(self) -> torch.device:
        """Where the gradient lies."""
        return self.right_bti.device

    @property
    def num_samples(self) -> int:
        """Of the batch."""
        return len(self.right_bti)

    @property
    def num_rows(self) -> int:
        """Of the parameter."""
        return self.left_bto.shape[-1]

    @property
    def num_columns(self) -> int:
        """Of the parameter, or as many as are left of them."""
        return self.right_bti.shape[-1] if self.columns is None else len(self.columns)

    def with_columns(self, columns: Int64[Tensor, " kept"]) -> "OuterGradient":
        """Fewer columns; see the base class."""
        if self.span_b is not None:  # of a few tokens, later
            return replace(self, columns=columns)
        return replace(self, right_bti=self.right_bti.index_select(-1, columns))

    def gram_product(self, sample: int, basis_im: Float64[Tensor, "i m"]) -> Float64[Tensor, "i m"]:
        """Of one sample; see the base class."""
        return _outer_gram_product(*self._sides(sample), basis_im)

    def add_sample_(
        self, gradient: Tensor, sample: int, *, is_first: bool, rows: slice = ALL_ROWS
    ) -> None:
        """Add one sample's gradient; see the base class."""
        left_to, right_ti = self._sides(sample)
        gradient.addmm_(left_to[:, rows].T, right_ti, beta=0.0 if is_first else 1.0)

    def _sides(self, sample: int) -> tuple[Tensor, Tensor]:
        """Both factors of one sample, of those tokens that have any gradient."""
        left_to, right_ti = self.left_bto[sample], self.right_bti[sample]
        if self.span_b is not None:
            tokens = slice(*self.span_b[sample])
            left_to, right_ti = left_to[tokens], right_ti[tokens]
        if self.columns is not None:
            right_ti = right_ti.index_select(-1, self.columns)
        return wide(left_to), wide(right_ti)

    def add_block_(self, gradient_bui: Tensor, start: int, stop: int, *, is_first: bool) -> None:
        """Add several samples' gradients; see the base class."""
        if self.span_b is not None:
            for sample, gradient_ui in enumerate(gradient_bui, start):
                self.add_sample_(gradient_ui, sample, is_first=is_first)
            return
        left_bot, right_bti = self.left_bto[start:stop].mT, self.right_bti[start:stop]
        if left_bot.dtype == right_bti.dtype == torch.bfloat16:
            found_bui = products(left_bot, right_bti)
            if is_first:
                gradient_bui.copy_(found_bui)
            else:
                gradient_bui.add_(found_bui)
        else:
            beta = 0.0 if is_first else 1.0
            gradient_bui.baddbmm_(wide(left_bot), wide(right_bti), beta=beta)

    def add_samples_(self, gradient: Tensor, start: int, stop: int) -> None:
        """Add the sum of several samples' gradients; see the base class."""
        if self.span_b is None:
            left_no = wide(self.left_bto[start:stop].flatten(0, 1))
            right_ni = wide(self.right_bti[start:stop].flatten(0, 1))
        else:
            sides = [self._sides(sample) for sample in range(start, stop)]
            left_no, right_ni = map(torch.cat, zip(*sides, strict=True))
        gradient.addmm_(left_no.T, right_ni)


class Visit(NamedTuple):
    """The tokens of one sample that one expert sees: from ``start`` to ``stop`` of all visits."""

    expert: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class ExpertGradient(MatrixGradient):
    """Matrices of experts, one below the other, each the sum over its tokens of ``left rightᵀ``."""

    left_so: Float[Tensor, "s o"]
    """Of one expert's matrix."""
    right_si: Float[Tensor, "s i"]
    visits: Sequence[Sequence[Visit]]
    """Of each sample."""
    num_experts: int

    @property
    def device(self) -> torch.device:
        """Where the gradient lies."""
        return self.right_si.device

    @property
    def num_samples(self) -> int:
        """Of the batch."""
        return len(self.visits)

    @property
    def num_rows(self) -> int:
        """Of all matrices."""
        return self.num_experts * self.left_so.shape[1]

    @property
    def num_columns(self) -> int:
        """Of the parameter, or as many as are left of them."""
        return self.right_si.shape[1]

    def with_columns(self, columns: Int64[Tensor, " kept"]) -> "ExpertGradient":
        """Fewer columns; see the base class."""
        return replace(self, right_si=self.right_si.index_select(-1, columns))

    def gram_product(self, sample: int, basis_im: Float64[Tensor, "i m"]) -> Float64[Tensor, "i m"]:
        """Of one sample; see the base class."""
        product_im = torch.zeros_like(basis_im)
        for _, left_so, right_si in self.sides(sample):
            product_im += _outer_gram_product(left_so, right_si, basis_im)
        return product_im

    def sides(self, sample: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """By expert that sees any of a sample: its rows, and both factors."""
        num_rows = self.left_so.shape[1]
        for expert, start, stop in self.visits[sample]:
            rows = slice(expert * num_rows, (expert + 1) * num_rows)
            yield rows, self.left_so[start:stop], self.right_si[start:stop]

    def add_sample_(
        self, gradient: Tensor, sample: int, *, is_first: bool, rows: slice = ALL_ROWS
    ) -> None:
        """Add one sample's gradient; see the base class."""
        if is_first:
            gradient.zero_()
        first, last, _ = rows.indices(self.num_rows)
        for own, left_so, right_si in self.sides(sample):
            start, stop = max(own.start, first), min(own.stop, last)
            if start < stop:
                left_su = left_so[:, start - own.start : stop - own.start]
                gradient[start - first : stop - first].addmm_(left_su.T, right_si)

    def add_block_(self, gradient_bui: Tensor, start: int, stop: int, *, is_first: bool) -> None:
        """Add several samples' gradients; see the base class."""
        for gradient_ui, sample in zip(gradient_bui, range(start, stop), strict=True):
            self.add_sample_(gradient_ui, sample, is_first=is_first)

    def add_samples_(self, gradient: Tensor, start: int, stop: int) -> None:
        """Add the sum of several samples' gradients; see the base class."""
        for sample in range(start, stop):
            self.add_sample_(gradient, sample, is_first=False)

    def add_squares_(self, square: Tensor) -> None:
        """Add the squares of every sample's gradient."""
        gradient = self.left_so.new_empty(self.left_so.shape[1], self.num_columns)
        for sample in range(len(self.visits)):
            for rows, left_so, right_si in self.sides(sample):
                torch.mm(left_so.T, right_si, out=gradient)
                square[rows].addcmul_(gradient, gradient)


@dataclass(frozen=True, eq=False)
class RowGradient(MatrixGradient):
    """A matrix whose gradient has ``value_t`` at row ``row_t``, summed over tokens: embeddings."""

    row_bt: Int[Tensor, "b t"]
    value_bti: Float[Tensor, "b t i"]
    num_rows: int
    """Rows of the parameter: the size of the vocabulary."""

    @property
    def device(self) -> torch.device:
        """Where the gradient lies."""
        return self.value_bti.device

    @property
    def num_samples(self) -> int:
        """Of the batch."""
        return len(self.value_bti)

    @property
    def num_columns(self) -> int:
        """Of the parameter, or as many as are left of them."""
        return self.value_bti.shape[-1]

    def with_columns(self, columns: Int64[Tensor, " kept"]) -> "RowGradient":
        """Fewer columns; see the base class."""
        return replace(self, value_bti=self.value_bti.index_select(-1, columns))

    def gram_product(self, sample: int, basis_im: Float64[Tensor, "i m"]) -> Float64[Tensor, "i m"]:
        """Of one sample; see the base class."""
        value_ti = self.value_bti[sample].double()
        row_u, place_t = torch.unique(self.row_bt[sample], return_inverse=True)
        image_um = basis_im.new_zeros(len(row_u), basis_im.shape[1])
        add_rows_(image_um, place_t, value_ti @ basis_im)
        return value_ti.T @ image_um[place_t]

    def add_sample_(
        self, gradient: Tensor, sample: int, *, is_first: bool, rows: slice = ALL_ROWS
    ) -> None:
        """Add one sample's gradient; see the base class."""
        if is_first:
            gradient.zero_()
        row_t, value_ti = self.row_bt[sample], self.value_bti[sample]
        if rows != ALL_ROWS:
            first, last, _ = rows.indices(self.num_rows)
            kept = ((row_t >= first) & (row_t < last)).nonzero().squeeze(1)
            row_t, value_ti = row_t[kept] - first, value_ti[kept]
        add_rows_(gradient, row_t, value_ti)

    def add_block_(self, gradient_bui: Tensor, start: int, stop: int, *, is_first: bool) -> None:
        """Add several samples' gradients; see the base class."""
        if not gradient_bui.is_cuda:  # threads of a CPU would add in whatever order they come
            for sample, gradient_ui in enumerate(gradient_bui, start):
                self.add_sample_(gradient_ui, sample, is_first=is_first)
            return
        if is_first:
            gradient_bui.zero_()
        row_n = self.row_bt[start:stop].flatten()
        sample_n = torch.arange(stop - start, device=self.device).repeat_interleave(
            self.row_bt.shape[1]
        )
        value_ni = self.value_bti[start:stop].flatten(0, 1)
        gradient_bui.index_put_((sample_n, row_n), value_ni, accumulate=True)

    def sum_of_squares(self) -> tuple[Int64[Tensor, " u"], Float[Tensor, "u i"]]:
        """Sums over samples of squared gradients: rows, of the batch's own tokens, and their sums.

        A row comes once for every sample that has it.
        """
        first_b1 = torch.arange(len(self.row_bt), device=self.device).unsqueeze(1) * self.num_rows
        row_u, place_n = torch.unique((self.row_bt + first_b1).flatten(), return_inverse=True)
        gradient_ui = self.value_bti.new_zeros(len(row_u), self.value_bti.shape[2])
        add_rows_(gradient_ui, place_n, self.value_bti.flatten(0, 1))
        return row_u % self.num_rows, gradient_ui.square_()

    def add_samples_(self, gradient: Tensor, start: int, stop: int) -> None:
        """Add the sum of several samples' gradients; see the base class."""
        rows_n = self.row_bt[start:stop].flatten()
        add_rows_(gradient, rows_n, self.value_bti[start:stop].flatten(0, 1))


@dataclass(frozen=True, eq=False)
class VectorGradient(LayerGradient):
    """A vector's gradient, already summed over tokens: biases and norms."""

    gradient_bo: Float[Tensor, "b o"]

    @property
    def device(self) -> torch.device:
        """Where the gradient lies."""
        return self.gradient_bo.device

    def add_sample_(
        self, gradient: Tensor, sample: int, *, is_first: bool, rows: slice = ALL_ROWS
    ) -> None:
        """Add one sample's gradient; see the base class."""
        if is_first:
            gradient.zero_()
        gradient.add_(self.gradient_bo[sample, rows])

    def add_block_(self, gradient_bui: Tensor, start: int, stop: int, *, is_first: bool) -> None:
        """Add several samples' gradients; see the base class."""
        if is_first:
            gradient_bui.zero_()
        gradient_bui.add_(self.gradient_bo[start:stop])

    def add_samples_(self, gradient: Tensor, start: int, stop: int) -> None:
        """Add the sum of several samples' gradients; see the base class."""
        gradient.add_(self.gradient_bo[start:stop].sum(0))
