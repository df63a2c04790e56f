"""The trainer's preconditioner P: it turns a gradient into the optimizer's step.

Adam divides a gradient by the root of its second moment, so the change that a domain causes is
``-lr * g / (sqrt(v_hat) + eps)`` (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1); SGD leaves it
as it is.
Axis letter: p parameters (the entries that ``Coordinates`` keeps).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from dids.atomic import whole_file
from dids.gradients.coordinates import Coordinates


@dataclass(frozen=True)
class SecondMoments:
    """Adam's bias-corrected second moments, by parameter name, and its epsilon."""

    by_name: Mapping[str, Tensor]
    epsilon: float

    @classmethod
    def of(cls, model: nn.Module, optimizer: Any) -> "SecondMoments | None":  # noqa: ANN401
        """Read them off an optimizer; None where it has none (SGD, or before its first step)."""
        by_name: dict[str, Tensor] = {}
        epsilon = 1e-8
        names = {parameter: name for name, parameter in model.named_parameters()}
        for group in optimizer.param_groups:
            epsilon = group.get("eps", epsilon)
            for parameter in group["params"]:
                state = optimizer.state.get(parameter, {})
                if parameter not in names or "exp_avg_sq" not in state:
                    continue
                correction = 1.0 - group["betas"][1] ** float(state["step"])
                by_name[names[parameter]] = state["exp_avg_sq"] / correction
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


def preconditioner(
    moments: SecondMoments | None, coordinates: Coordinates
) -> Float[Tensor, " p"] | None:
    """``1 / (sqrt(v_hat) + eps)`` at the coordinates; None stands for 1 everywhere (SGD).

    Example:
        >>> preconditioner(None, coordinates=...) is None  # doctest: +SKIP
        True
    """
    if moments is None:
        return None
    second_moment_p = coordinates.gather(moments.by_name)
    return 1.0 / (second_moment_p.sqrt() + moments.epsilon)


def optimizer_moments(model: nn.Module, optimizer: Optimizer | None) -> SecondMoments | None:
    """The second moments of an optimizer that may not be there."""
    return None if optimizer is None else SecondMoments.of(model, optimizer)
