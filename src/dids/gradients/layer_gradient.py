"""What one use of one parameter contributes to the gradient of each sample, in factored form.

A linear layer's gradient is a sum of outer products over tokens, an embedding's a sum of rows, a
bias's or a norm's a short vector; the full per-sample gradient of a model never exists at once.

Under autocast the factors keep the short precision that the layers themselves multiplied in, and
whatever is summed up from them is float32: casting all factors beforehand was a tenth of a pass.

Axes: b samples, t tokens, o rows and i columns of the parameter (an embedding's rows are tokens).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """Float32 for everything shorter, so that sums under autocast keep their digits."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


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
    def with_columns(self, columns: Int64[Tensor, " kept"]) -> "LayerGradient":
        """The same of these columns alone, as if the parameter had no others."""

    @abstractmethod
    def add_sample_(self, gradient: Tensor, sample: int, *, is_first: bool) -> None:
        """Add one sample's gradient to a parameter-shaped tensor, or overwrite it with it."""

    @abstractmethod
    def add_samples_(self, gradient: Tensor, start: int, stop: int, *, scale: float = 1.0) -> None:
        """Add ``scale`` times the summed gradient of samples ``start`` to ``stop``."""


@dataclass(frozen=True, eq=False)
class OuterGradient(LayerGradient):
    """A matrix whose gradient is the sum over tokens of ``left_t right_tᵀ``: linear layers."""

    left_bto: Float[Tensor, "b t o"]
    """For ``nn.Linear`` the gradient at the output, in the precision it has there."""
    right_bti: Float[Tensor, "b t i"]
    """For ``nn.Linear`` the input activation, in the precision the layer multiplied in."""

    @property
    def device(self) -> torch.device:
        """Where the gradient lies."""
        return self.right_bti.device

    def with_columns(self, columns: Int64[Tensor, " kept"]) -> "OuterGradient":
        """Fewer columns; see the base class."""
        return replace(self, right_bti=self.right_bti.index_select(-1, columns))

    def add_sample_(self, gradient: Tensor, sample: int, *, is_first: bool) -> None:
        """Add one sample's gradient; see the base class."""
        left_to, right_ti = wide(self.left_bto[sample]), wide(self.right_bti[sample])
        gradient.addmm_(left_to.T, right_ti, beta=0.0 if is_first else 1.0)

    def each(self) -> Float[Tensor, "b i o"]:
        """Every sample's gradient, transposed: for few columns, where it is small.

        One product for all samples, with columns before rows, takes a third of the time of one a
        sample with rows first.
        """
        right_bit = wide(self.right_bti).transpose(1, 2).contiguous()
        return torch.bmm(right_bit, wide(self.left_bto))

    def add_samples_(self, gradient: Tensor, start: int, stop: int, *, scale: float = 1.0) -> None:
        """Add the sum of several samples' gradients; see the base class."""
        left_no = wide(self.left_bto[start:stop].flatten(0, 1))
        right_ni = wide(self.right_bti[start:stop].flatten(0, 1))
        gradient.addmm_(left_no.T, right_ni, alpha=scale)


@dataclass(frozen=True, eq=False)
class RowGradient(LayerGradient):
    """A matrix whose gradient has ``value_t`` at row ``row_t``, summed over tokens: embeddings."""

    row_bt: Int[Tensor, "b t"]
    value_bti: Float[Tensor, "b t i"]
    num_rows: int
    """Rows of the parameter: the size of the vocabulary."""

    @property
    def device(self) -> torch.device:
        """Where the gradient lies."""
        return self.value_bti.device

    def with_columns(self, columns: Int64[Tensor, " kept"]) -> "RowGradient":
        """Fewer columns; see the base class."""
        return replace(self, value_bti=self.value_bti.index_select(-1, columns))

    def add_sample_(self, gradient: Tensor, sample: int, *, is_first: bool) -> None:
        """Add one sample's gradient; see the base class."""
        if is_first:
            gradient.zero_()
        gradient.index_add_(0, self.row_bt[sample], self.value_bti[sample])

    def add_samples_(self, gradient: Tensor, start: int, stop: int, *, scale: float = 1.0) -> None:
        """Add the sum of several samples' gradients; see the base class."""
        rows_n = self.row_bt[start:stop].flatten()
        gradient.index_add_(0, rows_n, self.value_bti[start:stop].flatten(0, 1), alpha=scale)


@dataclass(frozen=True, eq=False)
class VectorGradient(LayerGradient):
    """A vector's gradient, already summed over tokens: biases and norms."""

    gradient_bo: Float[Tensor, "b o"]

    @property
    def device(self) -> torch.device:
        """Where the gradient lies."""
        return self.gradient_bo.device

    def with_columns(self, columns: Int64[Tensor, " kept"]) -> "VectorGradient":
        """A vector is one column and is kept whole."""
        raise TypeError(f"{self.name} is a vector: it has no columns to choose from.")

    def add_sample_(self, gradient: Tensor, sample: int, *, is_first: bool) -> None:
        """Add one sample's gradient; see the base class."""
        if is_first:
            gradient.zero_()
        gradient.add_(self.gradient_bo[sample])

    def add_samples_(self, gradient: Tensor, start: int, stop: int, *, scale: float = 1.0) -> None:
        """Add the sum of several samples' gradients; see the base class."""
        gradient.add_(self.gradient_bo[start:stop].sum(0), alpha=scale)
