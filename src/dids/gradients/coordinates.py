"""Which entries of which parameters make up the vector axis p of impact.

All of them in a small model; in a large one a seeded uniform subset of each parameter, with weights
that keep inner products unbiased: ⟨u, v⟩ ≈ Σ_p weight_p u_p v_p.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dids.gradients.layers import covered_parameters
from dids.gradients.random_signs import philox


@dataclass(frozen=True, eq=False)
class Slot:
    """Where one parameter's entries lie on the axis p."""

    start: int
    stop: int
    shape: tuple[int, ...]
    entries: Int64[Tensor, " kept"] | None
    """Flat positions in the parameter, ascending; None means all."""

    @property
    def numel(self) -> int:
        """Entries of the whole parameter."""
        return int(np.prod(self.shape))

    def select(self, tensor: Tensor) -> Tensor:
        """This slot's entries of a tensor of the parameter's shape, flat."""
        flat = tensor.reshape(-1)
        return flat if self.entries is None else flat[self.entries.to(flat.device)]


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The entries of the covered parameters that stand for all of them."""

    slots: Mapping[str, Slot]

    @classmethod
    def of(
        cls, model: nn.Module, *, max_coordinates: int | None = None, seed: int = 0
    ) -> "Coordinates":
        """Choose the coordinates of a model.

        Args:
            model: Its covered, trainable parameters are used.
            max_coordinates: How many entries to keep at most (at least one a parameter); None for
                all.
            seed: Seed of the choice.

        Returns:
            Coordinates in the model's parameter order.

        Raises:
            ValueError: If ``max_coordinates`` is less than 1.
        """
        if max_coordinates is not None and max_coordinates < 1:
            raise ValueError(f"max_coordinates must be at least 1, but is {max_coordinates}.")
        parameters = covered_parameters(model)
        total = sum(parameter.numel() for parameter in parameters.values())
        share = 1.0 if max_coordinates is None else min(1.0, max_coordinates / total)
        slots, start = {}, 0
        for name, parameter in parameters.items():
            numel = parameter.numel()
            kept = max(1, int(numel * share)) if share < 1.0 else numel
            entries = None if kept == numel else _subset(seed, name, numel, kept)
            slots[name] = Slot(start, start + kept, tuple(parameter.shape), entries)
            start += kept
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
        parts = [
            torch.full((slot.stop - slot.start,), slot.numel / (slot.stop - slot.start))
            for slot in self.slots.values()
        ]
        return torch.cat(parts)

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
            if tuple(tensors[name].shape) != slot.shape:
                got = tuple(tensors[name].shape)
                raise ValueError(f"the tensor for {name} must be {slot.shape}, but is {got}.")
            parts.append(slot.select(tensors[name].detach()).float())
        return torch.cat(parts)


def _subset(seed: int, name: str, numel: int, kept: int) -> Tensor:
    generator = np.random.Generator(philox(seed, f"{name}/coordinates"))
    chosen = generator.choice(numel, kept, replace=False, shuffle=False)
    return torch.from_numpy(np.sort(chosen).astype(np.int64))
