"""A random projection that keeps inner products of gradients, computed layer by layer.

``one-sided``: a layer's gradient Σ_t b_t a_tᵀ becomes Σ_t b_t (Q a_t)ᵀ, whose entries get random
signs and are folded into ``dim`` buckets. ``exact``: the whole gradient of a sample's layer is
signed and folded (a count sketch). Either way all layers are summed into ONE space: layers side by
side keep cosines at a correlation of 0.7 with the full gradients', because a few layers hold most
of the norm. Signs, Q and buckets depend on the seed and the parameter's name alone.

Two choices keep the error at that of a dense random projection, 1/dim. Q is a random choice of
Hadamard columns, whose error vanishes as ``input_dim`` nears the number of columns. And entries of
one row or one column never share a bucket while there are enough of them: a frequent token's row
and a massive channel's column hold most of a gradient's norm, and with buckets that repeat in step
with the matrix they fell on few (a correlation of 0.87 where there are now 0.92).

Axes: b samples, t tokens, d feature dimensions, w of the sketch that they are made of, l leading
directions, o rows and i columns of a parameter, r projected
columns, n entries in the order of buckets.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from dids.gradients.folded_sketch import FoldedSketch
from dids.gradients.layer_gradient import (
    ExpertGradient,
    LayerGradient,
    OuterGradient,
    RowGradient,
    VectorGradient,
    block_size,
    matrix_shape,
    products,
    wide,
)
from dids.gradients.layers import KeptInput
from dids.gradients.random_signs import philox, random_order, random_signs

Kind = Literal["one-sided", "exact"]

LEADING = "leading directions of the sketch"
"""No parameter's name."""
_APART = 0.2
"""How far rows of a folded matrix begin apart, in all buckets over the rows from one to the other:
0.38 with the golden ratio, the best for any number of rows; so much is found near by."""
_ROWS_APART = 32
"""Up to so many rows, or the root of the number of buckets."""


class Projection:
    """Π in φ(x) = Π ∇loss(x): linear, seeded, never held as a matrix.

    Args:
        dim: Dimensions of the features.
        kind: ``one-sided`` costs less than a training step, ``exact`` about as much and keeps more.
        input_dim: Columns that the input side of a matrix is projected to (one-sided only); a
            matrix with no more columns than this keeps them as they are. None: as many as ``dim``
            asks for, 32 up to 1,024 dimensions and 64 above, so that this error stays below 1/dim.
        seed: Seed of signs and of Q.
        columns: By parameter, what stands in the place of ``input_dim``; one with no more than this
            keeps its columns as they are. None: nothing does.
        directions: By parameter, orthonormal columns ``[i, m]`` of Q that are not random, fewer
            than it has; see :func:`~dids.gradients.fit_projection.fit_projection`. None: all are.
        leading: Orthonormal columns ``[w, l]`` in a wider sketch of ``w`` dimensions (a multiple of
            ``dim``), fewer than ``dim``. Features then are what the sketch has along them, exactly,
            and the rest of it folded into the dimensions that are left. None: they are the sketch.
    """

    def __init__(
        self,
        dim: int,
        *,
        kind: Kind = "one-sided",
        input_dim: int | None = None,
        seed: int = 0,
        columns: Mapping[str, int] | None = None,
        directions: Mapping[str, Float[Tensor, "i m"]] | None = None,
        leading: Float[Tensor, "w l"] | None = None,
    ) -> None:
        self.sketch_dim = dim if leading is None else len(leading)
        if input_dim is None:
            input_dim = 32 if self.sketch_dim <= 1024 else 64
        if dim < 1 or input_dim < 1:
            raise ValueError(
                f"dim and input_dim must be at least 1, but are {dim} and {input_dim}."
            )
        if kind not in ("one-sided", "exact"):
            raise ValueError(f"kind must be 'one-sided' or 'exact', but is {kind!r}.")
        self.dim, self.kind, self.input_dim, self.seed = dim, kind, input_dim, seed
        self.columns, self.directions = dict(columns or {}), dict(directions or {})
        if leading is not None and (self.sketch_dim % dim or leading.shape[1] >= dim):
            raise ValueError(
                f"leading has shape {tuple(leading.shape)}; it needs fewer columns than the {dim} "
                "dimensions of the features, and a multiple of that in rows."
            )
        self.leading = leading
        self._folded = None if leading is None else FoldedSketch(leading, dim, seed)
        self._places: dict[str, _Place] = {}
        self._scratch: dict[tuple[int, int, int], _Scratch] = {}
        self._inputs: dict[tuple[str, torch.dtype], Tensor] = {}

    @property
    def fitted(self) -> dict[str, Tensor]:
        """Directions by parameter, and the leading ones under ``LEADING``: what a fit has found."""
        leading = {} if self.leading is None else {LEADING: self.leading}
        return self.directions | leading

    @property
    def key(self) -> str:
        """Everything that the features depend on here, for naming what is stored."""
        side = f"-{self.input_dim}" if self.kind == "one-sided" else ""
        is_fitted = bool(self.fitted or self.columns)
        fitted = f"-fitted{_digest(self.fitted, self.columns)}" if is_fitted else ""
        return f"{self.kind}{side}{fitted}-{self.dim}-seed{self.seed}-v6"

    @property
    def kept_input(self) -> KeptInput | None:
        """What of a linear layer's input is enough for ``add_``; None: all of it is needed."""
        return self.projected_input if self.kind == "one-sided" else None

    def features(self, sketch_bw: Float[Tensor, "b w"]) -> Float[Tensor, "b d"]:
        """Features of samples, from the sum of what ``add_`` has put into their sketch.

        Args:
            sketch_bw: Zeros at first, of ``sketch_dim`` dimensions; unchanged.
        """
        return sketch_bw if self._folded is None else self._folded.features(sketch_bw)

    def add_(self, sketch_bw: Float[Tensor, "b w"], layer: LayerGradient) -> None:
        """Add one layer's projected per-sample gradients to the samples' sketch.

        Args:
            sketch_bw: Sketch so far, changed in place; :meth:`features` makes features of it. The
                two are the same where there are no leading directions.
            layer: What one use of a parameter contributes.
        """
        if isinstance(layer, VectorGradient):
            self._fold_(sketch_bw, layer.name, layer.gradient_bo.unsqueeze(1))
        elif isinstance(layer, RowGradient):
            self._scatter_(sketch_bw, layer)
        elif isinstance(layer, OuterGradient | ExpertGradient) and self.kind == "exact":
            self._fold_whole_(sketch_bw, layer)
        elif isinstance(layer, OuterGradient):
            right_btr = self.projected_input(layer.name, layer.right_bti)
            left_bto = _as_multiplied(layer.left_bto)
            if left_bto.dtype != right_btr.dtype:
                left_bto, right_btr = wide(left_bto), wide(right_btr)
            self._fold_products_(sketch_bw, layer.name, right_btr.transpose(1, 2), left_bto)
        elif isinstance(layer, ExpertGradient):
            self._fold_experts_(sketch_bw, layer)
        else:
            raise TypeError(f"no projection is known for {type(layer).__name__}.")

    def project(self, name: str, gradient: Tensor) -> Float[Tensor, " d"]:
        """Project a whole parameter-shaped tensor: a mean gradient, an update.

        Args:
            name: The parameter's name.
            gradient: A tensor of the parameter's shape.

        Returns:
            Its part of the feature; sum over parameters for the whole.
        """
        tensor = wide(gradient.detach()).reshape(matrix_shape(gradient))
        sketch_bw = tensor.new_zeros(1, self.sketch_dim)
        if self.kind == "one-sided" and tensor.dim() == 2:
            tensor = self.projected_input(name, tensor).T
        matrix = tensor.view(1, -1) if tensor.dim() == 1 else tensor
        self._fold_(sketch_bw, name, matrix.unsqueeze(0))
        return self.features(sketch_bw)[0]

    def input_matrix(self, name: str, num_inputs: int) -> Float[Tensor, "i r"]:
        """Q of a parameter, transposed: columns of a Hadamard matrix, rows with random signs.

        Where there are directions, they stand first and the others are random in what they leave.

        Args:
            name: The parameter's name.
            num_inputs: Its columns.

        Returns:
            A float32 matrix on the CPU, all of its entries of one size where there are no
            directions; the identity where there is nothing to save.
        """
        num_columns = self.columns.get(name, self.input_dim)
        if num_inputs <= num_columns:
            return torch.eye(num_inputs)
        kept_im = self.directions.get(name)
        if kept_im is None:
            return self._random_columns(name, num_inputs, num_columns)
        random_ir = self._random_columns(name, num_inputs, num_columns - kept_im.shape[1])
        return torch.cat([kept_im, random_ir - kept_im @ (kept_im.T @ random_ir)], dim=1)

    def _random_columns(self, name: str, num_inputs: int, count: int) -> Tensor:
        order = 1 << (num_inputs - 1).bit_length()
        column_r = random_order(self.seed, f"{name}/columns", order)[:count]
        parity_ir = _odd_bits(np.arange(num_inputs)[:, None] & column_r)
        sign_i1 = random_signs(self.seed, f"{name}/input", num_inputs).float().unsqueeze(1)
        sign_ir = sign_i1 * torch.from_numpy(1 - 2 * parity_ir)
        return sign_ir / math.sqrt(count)

    def pitch(self, num_columns: int) -> int:
        """Buckets from the start of one row of a folded matrix to that of the next.

        Args:
            num_columns: Of the folded matrix.

        Returns:
            The next number without a common divisor with the number of buckets, so that a column
            meets every one before any twice, with which rows that are few rows apart share few
            buckets, and in these columns far from each other: what weighs much tends to be
            neighbours, and would pile up.
        """
        width = self.sketch_dim

        def coprime() -> Iterator[int]:
            pitches = range(num_columns, num_columns + width)
            return (pitch for pitch in pitches if math.gcd(pitch, width) == 1)

        apart = (pitch for pitch in coprime() if _are_apart(pitch, num_columns, width))
        return next(apart, next(coprime()))  # of few buckets no number does

    def offset(self, name: str) -> int:
        """The bucket of a parameter's first entry."""
        return int(
            philox(self.seed, f"{name}/offset").random_raw(1)[0] % np.uint64(self.sketch_dim)
        )

    def signs(self, name: str, count: int) -> Int8[Tensor, " count"]:
        """The signs of a parameter's entries, after the input side has been projected.

        Args:
            name: The parameter's name.
            count: How many entries.

        Returns:
            Entries of -1 and 1, on the CPU.
        """
        return random_signs(self.seed, f"{name}/sign", count)

    def projected_input(self, name: str, right: Float[Tensor, "*t i"]) -> Float[Tensor, "*t r"]:
        """Q of what stands on the input side of a matrix; nothing where it has been applied before.

        Args:
            name: The parameter's name.
            right: Its columns last.

        Returns:
            As many columns as the parameter is projected to, or as there are if there are fewer.
        """
        right, num_inputs = _as_multiplied(right), right.shape[-1]
        if num_inputs <= self.columns.get(name, self.input_dim):
            return right
        input_ir = self._inputs.get((name, right.dtype))
        if input_ir is None or input_ir.device != right.device:
            input_ir = self.input_matrix(name, num_inputs).to(right)
            self._inputs[name, right.dtype] = input_ir
        projected: Tensor = right @ input_ir
        return projected

    def _place(self, name: str, num_rows: int, num_columns: int, like: Tensor) -> "_Place":
        place = self._places.get(name)
        shape = (num_rows, num_columns)
        if place is None or place.sign_uv.shape != shape or place.sign_uv.device != like.device:
            # Whole gradients need as many signs as the model has parameters: one byte each.
            dtype = torch.float32 if self.kind == "one-sided" else torch.int8
            signs = self.signs(name, num_rows * num_columns).to(like.device, dtype)
            pitch = self.pitch(num_columns) if num_rows > 1 else num_columns
            place = _Place(signs.view(shape), pitch, self.offset(name))
            self._places[name] = place
        return place

    def _fold_experts_(self, sketch_bw: Tensor, layer: ExpertGradient) -> None:
        """Fold the products of every sample, one at a time: memory for all experts' rows."""
        projected = replace(layer, right_si=self.projected_input(layer.name, layer.right_si))
        matrix_or = sketch_bw.new_empty(layer.num_rows, projected.right_si.shape[-1])
        for sample in range(len(sketch_bw)):
            projected.add_sample_(matrix_or, sample, is_first=True)
            self._fold_(sketch_bw[sample : sample + 1], layer.name, matrix_or.T.unsqueeze(0))

    def _fold_whole_(self, sketch_bw: Tensor, layer: OuterGradient | ExpertGradient) -> None:
        """Fold whole gradients of a layer, of as few samples at a time as is quick: memory."""
        num_rows, num_columns = layer.num_rows, layer.num_columns
        block = min(block_size(num_rows * num_columns, sketch_bw.device), len(sketch_bw))
        gradient_bui = sketch_bw.new_empty(block, num_rows, num_columns)
        for start in range(0, len(sketch_bw), block):
            stop = min(start + block, len(sketch_bw))
            part_bui = gradient_bui[: stop - start]
            if block == 1:
                layer.add_sample_(part_bui[0], start, is_first=True)
            else:
                layer.add_block_(part_bui, start, stop, is_first=True)
            self._fold_(sketch_bw[start:stop], layer.name, part_bui)

    def _fold_products_(
        self, sketch_bw: Tensor, name: str, right_brt: Tensor, left_bto: Tensor
    ) -> None:
        """Fold ``right @ left`` of every sample.

        Columns before rows: 20 against 33 ms for a head of 4,096 rows and 2,048 tokens.
        """
        num_samples, num_rows, num_columns = *right_brt.shape[:2], left_bto.shape[2]
        if left_bto.dtype != sketch_bw.dtype:
            multiplied = products if left_bto.is_cuda else torch.bmm
            self._fold_(sketch_bw, name, multiplied(right_brt, left_bto))
            return
        place = self._place(name, num_rows, num_columns, left_bto)
        scratch = self._scratch_for(place, num_samples, sketch_bw)
        torch.bmm(right_brt, left_bto, out=scratch.entry_buv)
        scratch.entry_buv.mul_(place.sign_uv)
        self._add_buckets_(sketch_bw, scratch, place)

    def _fold_(self, sketch_bw: Tensor, name: str, matrix_buv: Tensor) -> None:
        """Add the entry in row u and column v, signed, to bucket offset + u · pitch + v.

        Rows and columns are those of the parameter, of a one-sided projection the other way round.
        """
        num_samples, num_rows, num_columns = matrix_buv.shape
        place = self._place(name, num_rows, num_columns, matrix_buv)
        scratch = self._scratch_for(place, num_samples, sketch_bw)
        torch.mul(matrix_buv, place.sign_uv, out=scratch.entry_buv)
        self._add_buckets_(sketch_bw, scratch, place)

    def _add_buckets_(self, sketch_bw: Tensor, scratch: "_Scratch", place: "_Place") -> None:
        folded_bd = scratch.bucket_bnd.sum(1)
        before_end = self.sketch_dim - place.offset
        sketch_bw[:, place.offset :] += folded_bd[:, :before_end]
        sketch_bw[:, : place.offset] += folded_bd[:, before_end:]

    def _scratch_for(self, place: "_Place", num_samples: int, like: Tensor) -> "_Scratch":
        """Memory that is used again: fresh pages would cost as much as the fold.

        One for each shape, so that what lies between its rows stays zero.
        """
        num_rows, num_columns = place.sign_uv.shape
        key = (num_rows, num_columns, place.pitch)
        found = self._scratch.get(key)
        is_fit = (
            found is not None
            and found.bucket_bnd.dtype == like.dtype
            and found.bucket_bnd.device == like.device
            and len(found.bucket_bnd) >= num_samples
        )
        if found is None or not is_fit:
            length = -(-num_rows * place.pitch // self.sketch_dim) * self.sketch_dim
            entry_bn = like.new_zeros(num_samples, length)
            padded_buv = entry_bn[:, : num_rows * place.pitch].view(num_samples, num_rows, -1)
            found = _Scratch(
                padded_buv[:, :, :num_columns], entry_bn.view(num_samples, -1, self.sketch_dim)
            )
            self._scratch[key] = found
        if len(found.bucket_bnd) == num_samples:
            return found
        return _Scratch(found.entry_buv[:num_samples], found.bucket_bnd[:num_samples])

    def _scatter_(self, sketch_bw: Tensor, layer: RowGradient) -> None:
        """The same fold for an embedding, only where its tokens are."""
        value_btr, row_bt1 = layer.value_bti, layer.row_bt.unsqueeze(-1)
        if self.kind == "one-sided":
            value_btr = self.projected_input(layer.name, value_btr)
        num_columns = value_btr.shape[-1]
        column_r = torch.arange(num_columns, device=value_btr.device)
        if self.kind == "one-sided":
            place = self._place(layer.name, num_columns, layer.num_rows, value_btr)
            sign_btr = place.sign_uv.T[layer.row_bt]
            bucket_btr = column_r * place.pitch + row_bt1
        else:
            place = self._place(layer.name, layer.num_rows, num_columns, value_btr)
            sign_btr = place.sign_uv[layer.row_bt]
            bucket_btr = row_bt1 * place.pitch + column_r
        bucket_btr = (bucket_btr + place.offset) % self.sketch_dim
        entry_btr = value_btr * sign_btr
        if sketch_bw.is_cuda:  # scatter_add_ adds there in whatever order threads come
            sample_b11 = torch.arange(len(sketch_bw), device=sketch_bw.device).view(-1, 1, 1)
            sketch_bw.index_put_((sample_b11, bucket_btr), entry_btr, accumulate=True)
        else:
            sketch_bw.scatter_add_(1, bucket_btr.flatten(1), entry_btr.flatten(1))


@dataclass(frozen=True, eq=False)
class _Place:
    """How one parameter's matrix is folded."""

    sign_uv: Tensor
    pitch: int
    offset: int


@dataclass(frozen=True, eq=False)
class _Scratch:
    """The same memory as entries and as buckets."""

    entry_buv: Tensor
    bucket_bnd: Tensor


def _as_multiplied(tensor: Tensor) -> Tensor:
    """A factor in the precision it is multiplied in.

    Products of bfloat16 on a GPU, or a CPU that has them, sum up in float32 and are rounded at most
    once, to what the factors themselves are rounded to, in a quarter of the time; everything else
    is widened.
    """
    is_fast = tensor.is_cuda or (tensor.device.type == "cpu" and _has_bf16())
    return tensor if tensor.dtype == torch.bfloat16 and is_fast else wide(tensor)


@cache
def _has_bf16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _are_apart(pitch: int, num_columns: int, width: int) -> bool:
    """Whether rows share no bucket, or begin far apart for how few rows they are apart."""
    for rows in range(1, min(_ROWS_APART, math.isqrt(width)) + 1):
        away = rows * pitch % width
        if min(away, width - away) < min(num_columns, _APART * width / rows):
            return False
    return True


def _digest(directions: Mapping[str, Tensor], columns: Mapping[str, int]) -> str:
    found = hashlib.sha256(str(sorted(columns.items())).encode() if columns else b"")
    for name, basis_im in sorted(directions.items()):
        found.update(name.encode())
        found.update(basis_im.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _odd_bits(number: np.ndarray) -> np.ndarray:
    """1 where a number below 2³² has an odd number of bits set, 0 elsewhere."""
    for shift in (16, 8, 4, 2, 1):
        number = number ^ (number >> shift)
    return number & 1
