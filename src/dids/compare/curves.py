"""Curves of loss over tokens, averaged over seeds.

Axis letters: s seeds, g places on the grid of tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class MeanCurve:
    """A loss over tokens.

    Attributes:
        tokens: Trained on.
        mean: Over the seeds.
        sd: From seed to seed; zeros with one seed.
    """

    tokens: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]


def mean_curve(curves: Sequence[Curve]) -> MeanCurve:
    """The mean of curves whose points lie at slightly different tokens.

    Args:
        curves: Of all seeds, each by growing tokens.

    Returns:
        A curve at the places of the first one, up to where the shortest ends.

    Example:
        >>> mean_curve([[(0, 4.0), (10, 2.0)], [(0, 2.0), (20, 0.0)]]).mean
        (3.0, 1.5)
    """
    end = min(curve[-1][0] for curve in curves)
    grid_g = np.array([*(tokens for tokens, _ in curves[0] if tokens < end), end], dtype=float)
    loss_sg = np.stack([_at(curve, grid_g) for curve in curves])
    sd_g = loss_sg.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros_like(grid_g)
    return MeanCurve(
        tuple(grid_g.tolist()), tuple(loss_sg.mean(axis=0).tolist()), tuple(sd_g.tolist())
    )


def tokens_to_reach(curve: MeanCurve, loss: float) -> float | None:
    """Tokens after which a curve is first at a loss or below, on straight lines between its points.

    Example:
        >>> tokens_to_reach(MeanCurve((0.0, 10.0, 20.0), (4.0, 2.0, 1.0), (0.0,) * 3), 3.0)
        5.0
    """
    before: tuple[float, float] | None = None
    for tokens, value in zip(curve.tokens, curve.mean, strict=True):
        if value <= loss:
            if before is None:
                return tokens
            part = (before[1] - loss) / (before[1] - value)
            return before[0] + part * (tokens - before[0])
        before = (tokens, value)
    return None


def _at(curve: Curve, grid_g: Float[np.ndarray, " g"]) -> Float[np.ndarray, " g"]:
    tokens, losses = zip(*curve, strict=True)
    return np.asarray(np.interp(grid_g, tokens, losses))
