"""Tasks that no domain comes near: how far their own step goes beyond what any domain's does.

A task of one-token answers in a form that no domain has is moved by its own gradient a hundred
times as far as by any domain's. What helps it helps in a roundabout way, is learnt in a few steps,
and is lost again while the model goes on to learn the few domains that it was learnt from.

Axis letters: k domains, t tasks.
"""

import numpy as np
from jaxtyping import Float64

from dids.impact.matrices import ImpactMatrices


def out_of_reach(impact: ImpactMatrices, reach: float) -> Float64[np.ndarray, " t"]:
    """How far each task is out of reach, from 0 (some domain comes near it) to 1.

    ``max(0, 1 - reach^2 * longest domain's step^2 / own step^2)``, lengths in the task's metric,
    without the noise of estimating them: with the Fisher information the squares are twice the KL
    divergence that the step brings about. Other metrics have no squared gradients of the task in
    them, or only so far as damping lets them in: a task is about as far as the square root there,
    so its ``reach`` is, too.

    Args:
        impact: As measured, in one unit for domains and tasks.
        reach: So many times as far as any domain's step may the task's own go.

    Returns:
        One number a task; 0 where nothing moves it.

    Example:
        >>> impact = ImpactMatrices(
        ...     gram_tkk=np.array([[[1.0]], [[4.0]]]), kernel_kt=np.array([[1.0, 0.5]]),
        ...     target_norm_t=np.array([400.0, 4.0]),
        ...     domain_names=("web",), task_names=("yes_or_no", "essays"),
        ... )
        >>> out_of_reach(impact, 10.0)
        array([0.75, 0.  ])
    """
    square_tk, own_square_t = impact.signal_tk, impact.target_signal_t
    if square_tk is None:
        square_tk = np.diagonal(impact.gram_tkk, axis1=1, axis2=2)
    if own_square_t is None:
        own_square_t = impact.target_norm_t
    times = reach**2 if impact.within == "fisher" else reach
    near_t = times * np.maximum(square_tk.max(axis=1), 0.0)
    beyond_t = np.zeros_like(own_square_t)
    np.divide(own_square_t - near_t, own_square_t, out=beyond_t, where=own_square_t > 0)
    return np.asarray(np.maximum(beyond_t, 0.0))
