"""The positive semi-definite matrix nearest to a symmetric one, in the Frobenius norm.

Axis letters: t tasks, k domains.
"""

import numpy as np
from jaxtyping import Float64


def nearest_psd(matrix_tkk: Float64[np.ndarray, "t k k"]) -> Float64[np.ndarray, "t k k"]:
    """Symmetrise, and set negative eigenvalues to zero (Higham 1988, theorem 2.1).

    Args:
        matrix_tkk: Whatever square matrices.

    Returns:
        The nearest positive semi-definite ones, exactly symmetric.

    Example:
        >>> nearest_psd(np.array([[[1.0, 0.0], [0.0, -1.0]]])).tolist()
        [[[1.0, 0.0], [0.0, 0.0]]]
    """
    symmetric_tkk = (matrix_tkk + matrix_tkk.transpose(0, 2, 1)) / 2
    value_tk, vector_tkk = np.linalg.eigh(symmetric_tkk)
    psd_tkk = (vector_tkk * np.maximum(value_tk, 0.0)[:, None, :]) @ vector_tkk.transpose(0, 2, 1)
    psd_tkk = (psd_tkk + psd_tkk.transpose(0, 2, 1)) / 2
    is_psd_t = value_tk.min(axis=1, initial=0.0) >= 0.0
    return np.asarray(np.where(is_psd_t[:, None, None], symmetric_tkk, psd_tkk))


def without_noise(
    gram_tkk: Float64[np.ndarray, "t k k"], signal_tk: Float64[np.ndarray, "t k"]
) -> Float64[np.ndarray, "t k k"]:
    """Inner products of estimated steps, without the noise that their squares have in them.

    The squared length of an estimated step is too long by the variance of the estimate; the product
    of two independent halves of it is not. It takes the place on the diagonal, then the nearest
    positive semi-definite matrix is taken.

    Args:
        gram_tkk: Inner products.
        signal_tk: The products of the halves; may be negative.

    Example:
        >>> without_noise(np.array([[[3.0, 0.5], [0.5, 1.0]]]), np.array([[1.0, 1.0]])).tolist()
        [[[1.0, 0.5], [0.5, 1.0]]]
    """
    exact_tkk = gram_tkk.copy()
    on_diagonal = np.arange(signal_tk.shape[1])
    exact_tkk[:, on_diagonal, on_diagonal] = signal_tk
    return nearest_psd(exact_tkk)
