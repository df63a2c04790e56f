"""Bootstrap over samples: how an estimate would differ, had other samples been drawn.

Efron 1979, The Annals of Statistics 7(1). A replicate draws as many samples as there are, with
replacement; here it is a vector of how often each was drawn.

Axis letters: n samples, r replicates (the first is the data itself).
"""

import numpy as np
from jaxtyping import Float64


def resampled_weights(
    weight_n: Float64[np.ndarray, " n"], num_replicates: int, random: np.random.Generator
) -> Float64[np.ndarray, "r n"]:
    """What each sample weighs in the data and in every replicate.

    Args:
        weight_n: What it weighs in the data; positive.
        num_replicates: Replicates besides the data.
        random: Draws them.

    Returns:
        ``1 + num_replicates`` rows, the data first.

    Example:
        >>> random = np.random.Generator(np.random.Philox(0))
        >>> resampled_weights(np.array([1.0, 2.0]), 2, random).shape
        (3, 2)
    """
    num_samples = len(weight_n)
    count_rn = random.multinomial(
        num_samples, np.full(num_samples, 1.0 / num_samples), size=num_replicates
    )
    return np.concatenate([weight_n[None], count_rn * weight_n])
