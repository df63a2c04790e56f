"""What a domain loses in value as it is repeated.

Data seen R more times after the first is worth about ``R* (1 - exp(-R / R*))`` fresh passes, with
``R* = 15`` (Muennighoff et al. 2023, arXiv:2305.16264, equation 5 and section 6).

Axis letters: k domains.
"""

import numpy as np
from jaxtyping import Float64, Integer

REPEATS_HALFLIFE = 15.0
"""R*: after so many repeats one more is worth 1/e of a fresh pass."""


def repeats(
    draws_k: Integer[np.ndarray, " k"], sizes_k: Integer[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """Passes over each domain beyond the first; 0 during the first, and for an empty domain."""
    return np.asarray(np.maximum(draws_k / np.maximum(sizes_k, 1) - 1.0, 0.0))


def fresh_passes(repeats_k: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Worth of ``repeats_k`` repeats, in passes over fresh data.

    Example:
        >>> fresh_passes(np.array([0.0, 1.0, 1e9])).round(3)
        array([ 0.   ,  0.967, 15.   ])
    """
    return np.asarray(REPEATS_HALFLIFE * -np.expm1(-repeats_k / REPEATS_HALFLIFE))


def marginal_value(repeats_k: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Worth of one more sample of a domain, as a fraction of a fresh one.

    The derivative of ``fresh_passes``: ``exp(-R / R*)``.

    Example:
        >>> marginal_value(np.array([0.0, 15.0])).round(3)
        array([1.   , 0.368])
    """
    return np.asarray(np.exp(-repeats_k / REPEATS_HALFLIFE))
