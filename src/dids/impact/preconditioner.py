"""The trainer's preconditioner P: it turns a gradient into the optimizer's step.

Adam divides a gradient by the root of its second moment, so the change that a domain causes is
``-lr * g / (sqrt(v_hat) + eps)`` (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1), and so do others
(:mod:`dids.impact.second_moment`); SGD leaves it as it is; Muon (Jordan et al. 2024,
kellerjordan.github.io/posts/muon) gives the momentum M of a matrix the singular values 1,
``(M M')^(-1/2) M``, and a gradient that enters M is turned by that ``(M M')^(-1/2)`` too. What the
optimizer has gathered is held fixed: it moves slowly.

Axis letters: p parameters (the entries that ``Coordinates`` keeps), n rows, o rows of a matrix.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from dids.atomic import whole_file
from dids.gradients.coordinates import Coordinates, Slot
from dids.gradients.shards import on_first_rank, reshard, whole
from dids.impact.second_moment import DEFAULT_EPSILON, epsilon_of, second_moment

# Of the largest squared singular value: directions that the momentum hardly has are not blown up.
_LEAST_SQUARE = 1e-4
# What an optimizer may keep of a parameter whose steps are gradients, or means of them.
_PLAIN_STATE = {"momentum_buffer", "step"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SecondMoments:
    """An optimizer's second moments, by parameter name, and its epsilon."""

    by_name: Mapping[str, Tensor]
    epsilon: float

    @classmethod
    def of(cls, model: nn.Module, optimizer: Any) -> "SecondMoments | None":  # noqa: ANN401
        """Read them off an optimizer; None where it has none (SGD, or before its first step).

        Of sharded parameters every rank must ask, and only the first has them, on the CPU.
        """
        by_name: dict[str, Tensor] = {}
        epsilon = DEFAULT_EPSILON
        for name, group, state, shape in _states(model, optimizer):
            epsilon = epsilon_of(group)
            moment = second_moment(group, state, shape)
            if moment is not None:
                by_name[name] = on_first_rank(moment)
        return cls(by_name, epsilon) if by_name else None

    def save(self, path: Path) -> None:
        """Write them as safetensors."""
        tensors = {name: tensor.contiguous().cpu() for name, tensor in self.by_name.items()}
        with whole_file(path) as unfinished:
            save_file(tensors, unfinished, metadata={"epsilon": repr(self.epsilon)})

    @classmethod
    def load(cls, path: Path) -> "SecondMoments":
        """The inverse of ``save``."""
        with safe_open(path, framework="pt") as file:
            epsilon = float(file.metadata()["epsilon"])
            return cls({name: file.get_tensor(name) for name in file.keys()}, epsilon)  # noqa: SIM118


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """A symmetric positive map of gradients, and its root.

    Attributes:
        scale_p: What each entry is multiplied by. None: 1 everywhere.
        root_by_slot: For Muon's matrices the fourth root of ``(M M')^(-2)``, which multiplies what
            is kept of the gradient from the left.
    """

    scale_p: Float[Tensor, " p"] | None = None
    root_by_slot: Mapping[Slot, Float[Tensor, "o o"]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: nn.Module, optimizer: Optimizer | None, coordinates: Coordinates
    ) -> "Preconditioner":
        """Read it off an optimizer, each parameter's by what the optimizer keeps of it.

        Where groups of parameters have learning rates of their own, steps are in units of the
        greatest.

        Args:
            model: Whose parameters are trained.
            optimizer: As it stands; None stands for plain gradient steps.
            coordinates: Which entries are kept.
        """
        scale_p = torch.ones(coordinates.size)
        roots: dict[Slot, Tensor] = {}
        states = [] if optimizer is None else list(_states(model, optimizer))
        rates = {name: _rate(group, state) for name, group, state, _ in states}
        greatest = max(rates.values(), default=0.0)
        for name, group, state, shape in states:
            slot = coordinates.slots.get(name)
            if slot is None:
                continue
            entries = slice(slot.start, slot.stop)
            moment = second_moment(group, state, shape)
            if moment is not None:
                moment_p = slot.select(moment).float()
                scale_p[entries] = (1.0 / (moment_p.sqrt() + epsilon_of(group))).cpu()
            elif "momentum_buffer" in state and "ns_steps" in group and len(slot.shape) == 2:
                roots[slot] = _root_of_whitening(whole(state["momentum_buffer"].detach()))
            elif state.keys() - _PLAIN_STATE:
                _warn_of(type(getattr(optimizer, "optimizer", optimizer)).__name__)  # Accelerate's
            if greatest > 0.0:
                scale_p[entries] *= rates[name] / greatest
        return cls(scale_p.to(_device(model)), roots)

    @classmethod
    def adam(
        cls,
        moments: SecondMoments | None,
        coordinates: Coordinates,
        device: torch.device | None = None,
    ) -> "Preconditioner":
        """Adam's, from moments that were saved; None stands for plain gradient steps."""
        if moments is None:
            return cls()
        second_moment_p = coordinates.gather(moments.by_name).to(device)
        return cls(1.0 / (second_moment_p.sqrt() + moments.epsilon))

    def times(self, row_np: Float[Tensor, "*n p"]) -> Float[Tensor, "*n p"]:
        """``P g`` for every row g."""
        found = row_np if self.scale_p is None else row_np * self.scale_p
        return self.turned(self.turned(found))

    def root_times(self, row_np: Float[Tensor, "*n p"]) -> Float[Tensor, "*n p"]:
        """``P^(1/2) g`` for every row g."""
        found = row_np if self.scale_p is None else row_np * self.scale_p.sqrt()
        return self.turned(found)

    def turned(self, row_np: Float[Tensor, "*n p"]) -> Float[Tensor, "*n p"]:
        """What Muon's roots make of every row, before entries are scaled; else the rows."""
        if not self.root_by_slot:
            return row_np
        turned_np = row_np.clone()
        for slot, root_oo in self.root_by_slot.items():
            entries = slice(slot.start, slot.stop)
            matrix = slot.shaped(row_np[..., entries].contiguous())
            slot.shaped(turned_np[..., entries]).copy_(root_oo.to(matrix) @ matrix)
        return turned_np


def optimizer_moments(model: nn.Module, optimizer: Optimizer | None) -> SecondMoments | None:
    """The second moments of an optimizer that may not be there."""
    return None if optimizer is None else SecondMoments.of(model, optimizer)


def _states(
    model: nn.Module,
    optimizer: Any,  # noqa: ANN401
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], torch.Size]]:
    """Name, group, state and shape of every parameter of the model that the optimizer trains."""
    reshard(model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter in names:
                yield names[parameter], group, optimizer.state.get(parameter, {}), parameter.shape


def _rate(group: Mapping[str, Any], state: Mapping[str, Any]) -> float:
    """The learning rate at its full height; 1 where the optimizer finds its own.

    Muon multiplies that of a matrix by what its shape says (``adjust_lr_fn`` of
    ``torch.optim.Muon``), Adafactor by how large the parameter is, where it is told to.
    """
    rate = group.get("initial_lr", group["lr"])
    rate = 1.0 if rate is None else float(rate)
    if group.get("scale_parameter"):
        return rate * max(float(group["eps"][1]), float(state.get("RMS", 0.0)))
    momentum = state.get("momentum_buffer")
    if "adjust_lr_fn" not in group or momentum is None or momentum.dim() != 2:
        return rate
    num_rows, num_columns = momentum.shape
    if group["adjust_lr_fn"] == "match_rms_adamw":
        return rate * 0.2 * math.sqrt(max(num_rows, num_columns))
    return rate * math.sqrt(max(1.0, num_rows / num_columns))


@cache
def _warn_of(optimizer_name: str) -> None:
    logger.warning(
        "impact takes steps of %s for plain gradient steps: of its state it knows only what Adam, "
        "Adafactor, Adagrad, RMSprop, SGD and torch.optim.Muon keep.",
        optimizer_name,
    )


def _root_of_whitening(momentum_oi: Tensor) -> Tensor:
    """``(M M')^(-1/4)``."""
    wide = momentum_oi.double()
    value_o, vector_oo = torch.linalg.eigh(wide @ wide.T)
    floor = _LEAST_SQUARE * float(value_o.max().clamp(min=1e-300))
    root_oo: Tensor = (vector_oo * value_o.clamp(min=floor) ** -0.25) @ vector_oo.T
    return root_oo.float()


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
