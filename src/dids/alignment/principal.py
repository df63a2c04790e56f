"""Principal directions of samples, from whichever of the two matrices that have them is smaller.

Axes: m samples, d dimensions, r principal directions.
"""

import numpy as np
import scipy.linalg
from jaxtyping import Float64

_FLOOR = 1e-9
"""Of the largest variance: directions of less are noise of rounding."""


def principal_directions(
    centred_md: Float64[np.ndarray, "m d"], most: int
) -> Float64[np.ndarray, "d r"]:
    """Orthonormal directions of most variance.

    Args:
        centred_md: Samples about their mean.
        most: How many, at most; directions without variance are left out.
    """
    num, dim = centred_md.shape
    is_wide = dim > num
    square = centred_md @ centred_md.T if is_wide else centred_md.T @ centred_md
    count = min(most, num, dim)
    value_r, vector = scipy.linalg.eigh(
        square, subset_by_index=[len(square) - count, len(square) - 1]
    )
    is_some_r = value_r > _FLOOR * max(value_r.max(initial=0.0), np.finfo(np.float64).tiny)
    vector = vector[:, is_some_r]
    direction_dr = centred_md.T @ vector / np.sqrt(value_r[is_some_r]) if is_wide else vector
    # The sign of an eigenvector is free; a fixed rule keeps two fits alike.
    largest_r = np.abs(direction_dr).argmax(axis=0)
    sign_r = np.where(direction_dr[largest_r, np.arange(direction_dr.shape[1])] < 0, -1.0, 1.0)
    return np.asarray(direction_dr * sign_r)
