"""Gradient features: each sample's loss gradient, projected, from one forward and backward pass.

Axes: b samples, d feature dimensions, w of the sketch that they are made of.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dids.gradients.layers import layer_gradients
from dids.gradients.losses import sample_losses
from dids.gradients.model_state import evaluation_mode, sums_like
from dids.gradients.projection import Projection


def sample_features(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    projection: Projection,
    *,
    layers: Sequence[str] | None = None,
) -> Float[Tensor, "b d"]:
    """φ(x) = Π ∇loss(x) for every sample of a batch.

    Args:
        model: The proxy. It comes back as it was: gradients, flags and random state untouched.
        batch: ``input_ids``, ``labels`` and, when padded, ``attention_mask``.
        projection: Π.
        layers: Patterns of the names of parameters or modules; None for every layer.

    Returns:
        Features in float32 (float64 for a float64 model), zero for a sample with nothing scored.
    """
    sketch_bw = torch.zeros(len(batch["input_ids"]), projection.sketch_dim, **sums_like(model))
    with (
        evaluation_mode(model),
        layer_gradients(
            model,
            lambda layer: projection.add_(sketch_bw, layer),
            layers=layers,
            kept_input=projection.kept_input,
        ),
        torch.enable_grad(),
    ):
        torch.autograd.backward(sample_losses(model, batch, is_last_look=True).sum())
    return projection.features(sketch_bw)
