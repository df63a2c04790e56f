"""How good a mixture is by the numbers it was made from."""

import numpy as np


def remaining_distance(gram_tkk, kernel_kt, target_norm_t, mixture_k):
    """What a mixture's step leaves of the way to each task's own, as a fraction of no step at all.

    0 is the task's own step, 1 is as bad as standing still, above 1 is worse.
    """
    own_t = np.einsum("k,tkl,l->t", mixture_k, gram_tkk, mixture_k)
    return (0.5 * own_t - kernel_kt.T @ mixture_k + 0.5 * target_norm_t) / (0.5 * target_norm_t)
