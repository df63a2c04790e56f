"""Which entries of which parameters make up the vector axis p of impact.

All of them in a small model; in a large one a seeded uniform subset of each matrix's columns, with
weights that keep inner products unbiased: ⟨u, v⟩ ≈ Σ_p weight_p u_p v_p. Whole columns, because a
linear layer's gradient is ``left.T @ right``: with a quarter of the columns of ``right`` it costs a
quarter, where single entries would need all of it. Rows are all kept: those of a head are tokens,
and a task's whole loss may hang on two of them.

Half of all entries are of the embedding and the head. In a task's Fisher information the tokens
that it is about weigh so much that nearly all of a kernel lies there: with one of 256 columns of
these, kernels agreed with those of all entries at a correlation of 0.67 whatever was kept of other
layers, with eight of them and one of every other matrix at 0.93.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dids.gradients.layer_gradient import LayerGradient, MatrixGradient, block_size, matrix_shape
from dids.gradients.layers import covered_parameters, token_matrices
from dids.gradients.random_signs import philox
from dids.gradients.shards import whole

TOKEN_COLUMNS = 8
"""Columns that are kept of an embedding and a head, however large the vocabulary is."""
_TOKEN_BYTES = 2**30  # where all that is held of these would take more, fewer columns are kept
# So many entries of several samples are still looked at together on a CPU: 16 MiB in float32.
_CACHED_ENTRIES = 2**22


@dataclass(frozen=True, eq=False)
class Slot:
    """Where one parameter's entries lie on the axis p."""

    start: int
    stop: int
    shape: tuple[int, ...]
    """Of the whole parameter; experts' matrices are one below the other."""
    columns: Int64[Tensor, " kept"] | None
    """The kept columns, ascending, on the model's device; None means all."""

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """Of what is kept."""
        return self.shape if self.columns is None else (self.shape[0], len(self.columns))

    def shaped(self, entry_np: Tensor) -> Tensor:
        """A view of this slot's entries, which stand last, in the kept shape.

        Of some columns, one lies after the other in memory: products of many rows and few columns
        take a third of the time so.
        """
        before = entry_np.shape[:-1]
        if self.columns is None:
            return entry_np.view(*before, *self.shape)
        return entry_np.view(*before, *reversed(self.kept_shape)).mT

    @property
    def weight(self) -> float:
        """How many entries of the parameter each kept one stands for."""
        return float(np.prod(self.shape)) / (self.stop - self.start)

    def select(self, tensor: Tensor) -> Tensor:
        """This slot's entries of a tensor of the parameter's shape, flat.

        Of a shard, all ranks get the whole parameter's; every rank must ask.
        """
        if self.columns is None:
            return whole(tensor, None).reshape(-1)
        return whole(tensor, self.columns.to(tensor.device)).flatten(0, -2).mT.reshape(-1)

    def restrict(self, layer: LayerGradient) -> LayerGradient:
        """What is kept of one use's gradient of this parameter."""
        if self.columns is None or not isinstance(layer, MatrixGradient):
            return layer
        return layer.with_columns(self.columns.to(layer.device))

    def in_blocks(
        self, uses: Sequence[LayerGradient], num_samples: int, dtype: torch.dtype
    ) -> Iterator[tuple[int, Float[Tensor, "b p"]]]:
        """What is kept of every sample's gradient of some uses, some samples at a time.

        Args:
            uses: Of this parameter, at least one; their sum is what comes.
            num_samples: Of its batch.
            dtype: Of what is yielded.

        Yields:
            The first sample's number and the gradients.
        """
        kept, num_entries = [self.restrict(layer) for layer in uses], self.stop - self.start
        device = kept[0].device
        block = max(block_size(num_entries, device), _CACHED_ENTRIES // num_entries)
        for start in range(0, num_samples, block):
            stop = min(start + block, num_samples)
            gradient_bp = torch.empty(stop - start, num_entries, dtype=dtype, device=device)
            for number, layer in enumerate(kept):
                layer.add_block_(self.shaped(gradient_bp), start, stop, is_first=number == 0)
            yield start, gradient_bp


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The entries of the covered parameters that stand for all of them."""

    slots: Mapping[str, Slot]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        *,
        max_coordinates: int | None = None,
        seed: int = 0,
        held_bytes: int = 8,
    ) -> "Coordinates":
        """Choose the coordinates of a model.

        Args:
            model: Its covered, trainable parameters are used.
            max_coordinates: How many entries to keep at most, half of them of matrices whose rows
                are tokens; vectors, one column of every matrix and ``TOKEN_COLUMNS`` of these
                matrices aside, which are always kept; None for all.
            seed: Seed of the choice.
            held_bytes: What is to be held for every entry. So many that all tokens' columns would
                take more than a gigabyte leave fewer of these, and one at least.

        Returns:
            Coordinates in the model's parameter order.

        Raises:
            ValueError: If ``max_coordinates`` is less than 1.
        """
        if max_coordinates is not None and max_coordinates < 1:
            raise ValueError(f"max_coordinates must be at least 1, but is {max_coordinates}.")
        parameters = covered_parameters(model)
        shapes = {name: matrix_shape(parameter) for name, parameter in parameters.items()}
        kept = {}
        if max_coordinates is not None:
            tokens = token_matrices(model, parameters)
            kept = _num_columns(shapes, tokens, max_coordinates, held_bytes)
        slots, start = {}, 0
        for name, parameter in parameters.items():
            shape, columns = shapes[name], None
            if name in kept:
                columns = _subset(seed, name, shape[1], kept[name]).to(parameter.device)
            slot = Slot(start, start, shape, columns)
            start += int(np.prod(slot.kept_shape))
            slots[name] = replace(slot, stop=start)
        return cls(slots)

    @property
    def size(self) -> int:
        """Length of the axis p."""
        return max(slot.stop for slot in self.slots.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(self.slots)

    @property
    def weight_p(self) -> Float[Tensor, " p"]:
        """How many entries each coordinate stands for; 1 everywhere when all are kept."""
        return torch.cat(
            [torch.full((slot.stop - slot.start,), slot.weight) for slot in self.slots.values()]
        )

    def gather(self, tensors: Mapping[str, Tensor]) -> Float[Tensor, " p"]:
        """The coordinates of whole parameter-shaped tensors, such as Adam's second moments.

        Args:
            tensors: A tensor of the parameter's shape for every name; others are ignored.

        Returns:
            One float32 vector on the tensors' device.

        Raises:
            ValueError: If a tensor is missing or of another shape.
        """
        parts = []
        for name, slot in self.slots.items():
            if name not in tensors:
                raise ValueError(f"there is no tensor for parameter {name}.")
            if matrix_shape(tensors[name]) != slot.shape:
                got = tuple(tensors[name].shape)
                raise ValueError(f"the tensor for {name} must be {slot.shape}, but is {got}.")
            parts.append(slot.select(tensors[name].detach()).float())
        return torch.cat(parts)


def _num_columns(
    shapes: Mapping[str, tuple[int, ...]],
    tokens: Collection[str],
    max_coordinates: int,
    held_bytes: int,
) -> dict[str, int]:
    """Columns to keep of each matrix of which not all are kept."""
    size = {name: math.prod(shape) for name, shape in shapes.items()}
    if sum(size.values()) <= max_coordinates:
        return {}
    token_size = sum(size[name] for name in tokens)
    other_size = sum(size.values()) - token_size
    token_part = min(token_size, max(max_coordinates / 2, max_coordinates - other_size))
    token_rows = sum(shapes[name][0] for name in tokens)
    fitting = _TOKEN_BYTES // max(1, held_bytes * token_rows)
    least_of_tokens = max(1, min(TOKEN_COLUMNS, fitting))
    found = {}
    for name, shape in shapes.items():
        if len(shape) != 2:
            continue
        least, part, whole_size = 1, max_coordinates - token_part, other_size
        if name in tokens:
            least, part, whole_size = least_of_tokens, token_part, token_size
        columns = max(least, int(shape[1] * part / whole_size))
        if columns < shape[1]:
            found[name] = columns
    return found


def _subset(seed: int, name: str, num_columns: int, kept: int) -> Tensor:
    generator = np.random.Generator(philox(seed, f"{name}/coordinates"))
    chosen = generator.choice(num_columns, kept, replace=False, shuffle=False)
    return torch.from_numpy(np.sort(chosen).astype(np.int64))
