"""Features out of a wider sketch: leading directions as they are, the rest of it folded.

Gradients of samples are alike in a few directions, and that is what their cosines tell. A fold errs
in proportion to the square of what is folded: with the directions of a hundred samples, which hold
a third of it, left out, 1,024 dimensions keep what 1,700 random ones keep. Both parts are linear,
and the fold leaves inner products right on average, over seeds.

Axes: b samples, w dimensions of the sketch, l leading directions, d dimensions of the features.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dids.gradients.random_signs import random_order, random_signs

_NEW = 0.05
"""A sample adds a direction if so much of its length lies in none of those before it."""


class FoldedSketch:
    """Makes features of a sketch.

    Args:
        leading_wl: Orthonormal columns.
        dim: Dimensions of the features, more than there are columns.
        seed: Of the fold's signs and buckets.
    """

    def __init__(self, leading_wl: Float[Tensor, "w l"], dim: int, seed: int) -> None:
        width, num_leading = leading_wl.shape
        self._order_w = torch.from_numpy(random_order(seed, "sketch/order", width))
        self._sign_1w = random_signs(seed, "sketch/sign", width).unsqueeze(0)
        self._leading_wl = leading_wl
        self._num_folded = dim - num_leading

    def features(self, sketch_bw: Float[Tensor, "b w"]) -> Float[Tensor, "b d"]:
        """Features of samples.

        Args:
            sketch_bw: Of their whole gradients, or of a part: features of a sum are the sum of
                features.
        """
        self._move_to(sketch_bw)
        lead_bl = sketch_bw @ self._leading_wl
        rest_bw = (sketch_bw - lead_bl @ self._leading_wl.T)[:, self._order_w] * self._sign_1w
        missing = -rest_bw.shape[1] % self._num_folded
        folds_bnd = functional.pad(rest_bw, (0, missing)).view(len(rest_bw), -1, self._num_folded)
        return torch.cat([lead_bl, folds_bnd.sum(1)], dim=1)

    def _move_to(self, like: Tensor) -> None:
        self._leading_wl = self._leading_wl.to(like)
        self._sign_1w = self._sign_1w.to(like)
        self._order_w = self._order_w.to(like.device)


def leading_directions(
    sketches: Iterable[Float[Tensor, "_ w"]], most: int
) -> Float[Tensor, "w l"] | None:
    """Orthonormal directions of the first samples that are not zero or nearly alike.

    Not principal directions, which a difference in a last bit turns where lengths are alike: a
    sample's own directions stay what they are.

    Args:
        sketches: Of samples, in their order; no more are asked for than are needed.
        most: Directions at most.

    Returns:
        In float32, on the CPU; None if every sample is zero, or none is asked for.
    """
    if most == 0:
        return None
    basis_lw, count = torch.empty(0), 0
    for sketch_w in (sketch_w for sketch_bw in sketches for sketch_w in sketch_bw.cpu().double()):
        if count == 0:
            basis_lw = sketch_w.new_empty(most, len(sketch_w))
        length = sketch_w.norm()
        if length == 0.0:
            continue
        row_w = sketch_w / length
        for _ in range(2):  # once more for what rounding has left
            row_w = row_w - (basis_lw[:count] @ row_w) @ basis_lw[:count]
        if row_w.norm() >= _NEW:
            basis_lw[count] = row_w / row_w.norm()
            count += 1
        if count == most:
            break
    return basis_lw[:count].T.float().contiguous() if count > 0 else None
