"""The input of a norm after normalisation: what its weight multiplies, hence the weight's gradient.

Norms differ (RMSNorm, LayerNorm, Gemma's 1 + weight), but each is affine in its weight, so its
output at weight one minus its output at weight zero is the normalised input, whatever the kind.
"""

import torch
from torch import Tensor, nn


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm with a weight a channel: ``nn.LayerNorm`` or any ``…RMSNorm``.

    Args:
        module: Any module.

    Returns:
        True for norms whose weight the hooks can follow.
    """
    weight = getattr(module, "weight", None)
    is_known = isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("RMSNorm")
    return is_known and isinstance(weight, Tensor) and weight.dim() == 1


def normalised_input(norm: nn.Module, inputs: Tensor) -> Tensor:
    """What the norm's weight multiplies.

    Args:
        norm: A norm as :func:`is_norm` knows them.
        inputs: What the norm was called with.

    Returns:
        The normalised input, of the same shape.
    """
    weight = norm._parameters["weight"]
    assert weight is not None
    probe = torch.linspace(-1.0, 1.0, len(weight), dtype=inputs.dtype, device=inputs.device)
    try:
        with torch.no_grad():
            # The raw forward: calling the module would fire its hooks again.
            norm._parameters["weight"] = nn.Parameter(torch.ones_like(weight), requires_grad=False)
            at_one: Tensor = norm.forward(inputs)
            norm._parameters["weight"] = nn.Parameter(torch.zeros_like(weight), requires_grad=False)
            if not norm.forward(probe.expand(1, 1, -1)).any():
                return at_one  # a plain product with the weight: nothing to take away
            at_zero: Tensor = norm.forward(inputs)
            return at_one - at_zero
    finally:
        norm._parameters["weight"] = weight
