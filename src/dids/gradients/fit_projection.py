"""A projection whose input side keeps the directions in which gradients lie most.

Inputs of a layer are not alike in all directions: a few hold most of what a gradient is made of. A
projection that keeps these exactly, and random columns of the rest, errs by the rest alone: with 16
columns it keeps what 32 random ones keep. Nor are layers: those that hold most of a gradient get
most of the columns (:mod:`dids.gradients.input_columns`), and eight on average keep what 32 of
every layer keep.

The directions are those of the mean over samples of ``GᵀG / |G|²`` (G: a layer's gradient on one
sample), by subspace iteration (Halko, Martinsson & Tropp 2011, SIAM Review 53, algorithm 4.4). It
needs a product with a few columns for each pass, never a matrix of inputs by inputs, and starts
from columns that depend on seed and name alone: a difference in a last bit of a gradient stays
one of the directions.

What a layer's inputs say of all samples, samples say of each other: of a sketch four times as wide
as the features, directions of some samples are kept as well (:mod:`dids.gradients.folded_sketch`).

Axes: i columns of a parameter, m directions, n samples.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from dids.errors import InputError
from dids.gradients.folded_sketch import leading_directions
from dids.gradients.input_columns import LEAST, allotted_columns
from dids.gradients.layer_gradient import LayerGradient, MatrixGradient, matrix_shape
from dids.gradients.layers import layer_gradients
from dids.gradients.losses import sample_losses
from dids.gradients.model_state import evaluation_mode
from dids.gradients.projection import Projection
from dids.gradients.random_signs import random_signs
from dids.gradients.sample_features import sample_features

_PASSES = 3
_PROBES = 4
"""Random columns that a gradient is multiplied by to tell how long it is."""
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
        input_dim: Columns that the input side of a matrix is projected to on average, at least 2;
            a matrix that holds much of the samples' gradients gets more, another fewer. None: 8 up
            to 1,024 dimensions and 16 above.
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
        input_dim = 8 if dim <= 1024 else 16
    if input_dim < LEAST:
        raise ValueError(f"input_dim must be at least {LEAST}, but is {input_dim}.")
    columns = _columns(model, batches, input_dim, seed, layers)
    directions: dict[str, Tensor] = {}
    for _ in range(_PASSES):
        directions = _turned(model, batches, directions, columns, seed, layers)
    directions = {
        name: basis_im.float().contiguous() for name, basis_im in sorted(directions.items())
    }
    settings: dict[str, Any] = {
        "input_dim": input_dim,
        "seed": seed,
        "columns": columns,
        "directions": directions,
    }
    if not leading:
        return Projection(dim, **settings)
    sketch = Projection(_WIDER * dim, **settings)
    sketches = (sample_features(model, batch, sketch, layers=layers) for batch in leading)
    return Projection(dim, **settings, leading=leading_directions(sketches, num_leading(dim)))


def num_leading(dim: int) -> int:
    """Leading directions of features at most: more of them leave the rest too few dimensions."""
    return dim // 8


def _columns(
    model: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    input_dim: int,
    seed: int,
    layers: Sequence[str] | None,
) -> dict[str, int]:
    """Columns by parameter, from how much of the samples' gradients lies in each."""
    num_samples = sum(len(batch["input_ids"]) for batch in batches)
    length_n: dict[str, Tensor] = {}  # squared
    probes: dict[str, Tensor] = {}

    def add(layer: MatrixGradient, first: int) -> None:
        name = layer.name
        if name not in probes:
            probes[name] = _random_columns(name, layer.num_columns, _PROBES, seed).to(layer.device)
            length_n[name] = torch.zeros(num_samples, dtype=torch.float64)
        length_b = torch.stack([length for _, length in _products(layer, probes[name])]).cpu()
        # |G v|² of a random v is |G|² / i in the mean.
        length_n[name][first : first + len(length_b)] += length_b * (layer.num_columns / _PROBES)

    _pass(model, batches, add, layers)
    if not length_n:
        return {}
    _require_finite({name: float(own_n.sum()) for name, own_n in length_n.items()})
    total_n = torch.stack(list(length_n.values())).sum(0)
    share = {
        name: float(torch.where(total_n > 0.0, own_n / total_n, 0.0).mean())
        for name, own_n in sorted(length_n.items())
    }
    shape: dict[str, tuple[int, int]] = {}
    for name in share:
        num_rows, num_columns = matrix_shape(model.get_parameter(name))
        shape[name] = (num_rows, num_columns)
    return allotted_columns(share, shape, input_dim)


def _turned(
    model: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    before: Mapping[str, Tensor],
    columns: Mapping[str, int],
    seed: int,
    layers: Sequence[str] | None,
) -> dict[str, Tensor]:
    """The directions after one more pass over the samples; from random ones where there are none.

    A parameter that had no gradient keeps those that it has.
    """
    start: dict[str, Tensor] = dict(before)
    sums: dict[str, Tensor] = {}

    def add(layer: MatrixGradient, first: int) -> None:
        count = columns[layer.name]
        if layer.num_columns <= count:
            return
        if layer.name not in start:
            start[layer.name] = _random_columns(layer.name, layer.num_columns, count // 2, seed)
        basis_im = start[layer.name].to(layer.device)
        total_im = torch.zeros_like(basis_im)  # every sample counts the same, however long it is
        for product_im, length in _products(layer, basis_im):
            total_im += torch.where(length == 0.0, 0.0, product_im / length)
        total_im = total_im.cpu()
        if layer.name in sums:
            total_im += sums[layer.name]
        sums[layer.name] = total_im

    _pass(model, batches, add, layers)
    _require_finite({name: float(product_im.sum()) for name, product_im in sums.items()})
    for name, product_im in sums.items():
        if bool(product_im.any()):
            start[name] = torch.linalg.qr(product_im).Q
    return start


def _pass(
    model: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    add: Callable[[MatrixGradient, int], None],
    layers: Sequence[str] | None,
) -> None:
    """Hand over every matrix's gradients, with the number of their first sample."""
    first = 0

    def receive(layer: LayerGradient) -> None:
        if isinstance(layer, MatrixGradient):
            add(layer, first)

    with (
        evaluation_mode(model),
        layer_gradients(model, receive, layers=layers),
        torch.enable_grad(),
    ):
        for batch in batches:
            torch.autograd.backward(sample_losses(model, batch, is_last_look=True).sum())
            first += len(batch["input_ids"])


def _require_finite(found: Mapping[str, float]) -> None:
    for name, number in found.items():
        if not math.isfinite(number):
            raise InputError(
                f"a gradient of {name} is not finite: the model has diverged; lower the learning "
                "rate."
            )


def _random_columns(name: str, num_inputs: int, count: int, seed: int) -> Tensor:
    signs = random_signs(seed, f"{name}/directions", num_inputs * count)
    return signs.double().view(num_inputs, count) / math.sqrt(num_inputs)


def _products(
    layer: MatrixGradient, basis_im: Float64[Tensor, "i m"]
) -> Iterator[tuple[Float64[Tensor, "i m"], Float64[Tensor, ""]]]:
    """``GᵀG V`` and ``|G V|²`` of each sample's gradient G.

    Sample by sample, so that no more than one sample's factors are there in float64.
    """
    for sample in range(layer.num_samples):
        product_im = layer.gram_product(sample, basis_im)
        yield product_im, (product_im * basis_im).sum()  # tr(Vᵀ GᵀG V) = |G V|²
