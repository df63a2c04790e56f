"""Attention in float32 in passes of our own, where bfloat16 makes its backward pass slower.

On a CPU PyTorch's fused attention takes twice the time of float32 to run backward in bfloat16 (24
against 13 ms for eight sequences of 256 tokens and 8 heads of 32), and that is a fifth of a pass
under autocast. Nothing is lost: float32 is what bfloat16 stands for.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def fast_attention(device: torch.device) -> AbstractContextManager[object]:
    """Fused attention in float32 for the duration, under bfloat16 autocast on a CPU alone.

    Args:
        device: Where the model runs.

    Returns:
        A context for a forward pass.
    """
    is_slow = (
        device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
    return _WideAttention() if is_slow else nullcontext()


class _WideAttention(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Everything but attention as it is."""
        if function is not functional.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            wide_args = [_wide_floats(value) for value in args]
            wide_kwargs = {name: _wide_floats(value) for name, value in (kwargs or {}).items()}
            found: Tensor = function(*wide_args, **wide_kwargs)
        # Autocast leaves float64 alone.
        return found if found.dtype == torch.float64 else found.to(torch.bfloat16)


def _wide_floats(value: Any) -> Any:  # noqa: ANN401
    is_short = isinstance(value, Tensor) and value.dtype == torch.bfloat16
    return value.float() if is_short else value
