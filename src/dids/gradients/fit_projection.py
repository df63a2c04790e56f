"""A projection whose input side keeps the directions in which gradients lie most.

Inputs of a layer are not alike in all directions: a few hold most of what a gradient is made of. A
projection that keeps these exactly, and random columns of the rest, errs by the rest alone: with 16
columns it keeps what 32 random ones keep.

The directions are those of the mean over samples of ``GᵀG / |G|²`` (G: a layer's gradient on one
sample), by subspace iteration (Halko, Martinsson & Tropp 2011, SIAM Review 53, algorithm 4.4). It
needs a product with a few columns for each pass, never a matrix of inputs by inputs, and starts
from columns that depend on seed and name alone: a difference in a last bit of a gradient stays
one of the directions.

What a layer's inputs say of all samples, samples say of each other: of a sketch four times as wide
as the features, directions of some samples are kept as well (:mod:`dids.gradients.folded_sketch`).

Axes: i columns of a parameter, m directions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from dids.errors import InputError
from dids.gradients.folded_sketch import leading_directions
from dids.gradients.layer_gradient import LayerGradient, MatrixGradient
from dids.gradients.layers import layer_gradients
from dids.gradients.losses import sample_losses
from dids.gradients.model_state import evaluation_mode
from dids.gradients.projection import Projection
from dids.gradients.random_signs import random_signs
from dids.gradients.sample_features import sample_features

_PASSES = 3
_WIDER = 4
"""The sketch that features with leading directions are made of, in widths of theirs."""


def fit_projection(
    model: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    dim: int,
    *,
    input_dim: int | None = None,
    seed: int = 0,
    layers: Sequence[str] | None = None,
    leading: Sequence[Mapping[str, Tensor]] = (),
) -> Projection:
    """A one-sided projection for a model and samples like these.

    Half of its input columns are directions, the other half random ones of what is left. It is
    still linear, and inner products are still right on average, over seeds, for any sample: which
    samples it was fitted to decides how far they scatter.

    Args:
        model: The proxy. It comes back as it was: gradients, flags and random state untouched.
        batches: ``input_ids``, ``labels`` and, when padded, ``attention_mask``; a few dozen samples
            do.
        dim: Dimensions of the features.
        input_dim: Columns that the input side of a matrix is projected to, at least 2. None: 16 up
            to 1,024 dimensions and 32 above, or with ``leading``.
        seed: Seed of everything random.
        layers: Patterns of the names of parameters or modules; None for every layer.
        leading: Batches of other samples, whose gradients' directions the features keep: of one
            sample for every eight dimensions (:func:`num_leading`). They take one pass; batches
            beyond those that are needed are left aside.

    Returns:
        The projection. Features of two fits are not to be compared with each other.

    Raises:
        InputError: If a gradient is not finite.
    """
    if input_dim is None:
        input_dim = fitted_input_dim(dim, has_leading=len(leading) > 0)
    if input_dim < 2:
        raise ValueError(f"input_dim must be at least 2, but is {input_dim}.")
    directions: dict[str, Tensor] = {}
    for _ in range(_PASSES):
        directions = _turned(model, batches, directions, input_dim, seed, layers)
    directions = {
        name: basis_im.float().contiguous() for name, basis_im in sorted(directions.items())
    }
    settings: dict[str, Any] = {"input_dim": input_dim, "seed": seed, "directions": directions}
    if not leading:
        return Projection(dim, **settings)
    sketch = Projection(_WIDER * dim, **settings)
    sketches = (sample_features(model, batch, sketch, layers=layers) for batch in leading)
    return Projection(dim, **settings, leading=leading_directions(sketches, num_leading(dim)))


def num_leading(dim: int) -> int:
    """Leading directions of features at most: more of them leave the rest too few dimensions."""
    return dim // 8


def fitted_input_dim(dim: int, *, has_leading: bool = False) -> int:
    """Columns of the input side of a fitted projection, where nothing else is asked for."""
    return 16 if dim <= 1024 and not has_leading else 32


def _turned(
    model: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    before: Mapping[str, Tensor],
    input_dim: int,
    seed: int,
    layers: Sequence[str] | None,
) -> dict[str, Tensor]:
    """The directions after one more pass over the samples; from random ones where there are none.

    A parameter that had no gradient keeps those that it has.
    """
    start: dict[str, Tensor] = dict(before)
    sums: dict[str, Tensor] = {}

    def add(layer: LayerGradient) -> None:
        if not isinstance(layer, MatrixGradient) or layer.num_columns <= input_dim:
            return
        if layer.name not in start:
            start[layer.name] = _random_columns(layer.name, layer.num_columns, input_dim // 2, seed)
        product_im = _product(layer, start[layer.name].to(layer.device)).cpu()
        if layer.name in sums:
            product_im += sums[layer.name]
        sums[layer.name] = product_im

    with (
        evaluation_mode(model),
        layer_gradients(model, add, layers=layers),
        torch.enable_grad(),
    ):
        for batch in batches:
            torch.autograd.backward(sample_losses(model, batch).sum())
    for name, product_im in sums.items():
        if not bool(torch.isfinite(product_im).all()):
            raise InputError(
                f"a gradient of {name} is not finite: the model has diverged; lower the learning "
                "rate."
            )
        if bool(product_im.any()):
            start[name] = torch.linalg.qr(product_im).Q
    return start


def _random_columns(name: str, num_inputs: int, count: int, seed: int) -> Tensor:
    signs = random_signs(seed, f"{name}/directions", num_inputs * count)
    return signs.double().view(num_inputs, count) / math.sqrt(num_inputs)


def _product(layer: MatrixGradient, basis_im: Float64[Tensor, "i m"]) -> Float64[Tensor, "i m"]:
    """``Σ_b GᵀG V / |G V|²``: every sample counts the same, however long its gradient is.

    Sample by sample, so that no more than one sample's factors are there in float64.
    """
    total_im = torch.zeros_like(basis_im)
    for sample in range(layer.num_samples):
        product_im = layer.gram_product(sample, basis_im)
        length = (product_im * basis_im).sum()  # tr(Vᵀ GᵀG V) = |G V|²
        total_im += torch.where(length == 0.0, 0.0, product_im / length)
    return total_im
