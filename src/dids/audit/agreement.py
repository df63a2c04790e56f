"""How well scores agree with what training did.

Axis letters: k domains, t tasks.
"""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import spearmanr


@dataclass(frozen=True)
class Agreement:
    """Of two tables of domains and tasks.

    Attributes:
        rho: Spearman's rank correlation over domains, averaged over tasks.
        top1: How often both name the same best domain.
        sign: How often both say help, or both say harm.
    """

    rho: float
    top1: float
    sign: float

    def to_json(self) -> dict[str, float]:
        """As plain numbers."""
        return asdict(self)


def agreement(
    score_kt: Float64[np.ndarray, "k t"], drop_kt: Float64[np.ndarray, "k t"]
) -> Agreement:
    """Of scores with measured loss drops.

    Example:
        >>> agreement(np.array([[2.0], [1.0], [-1.0]]), np.array([[0.2], [0.3], [-0.1]]))
        Agreement(rho=0.5, top1=0.0, sign=1.0)
    """
    pairs = zip(score_kt.T, drop_kt.T, strict=True)
    ranks = [
        0.0 if np.ptp(score_k) == 0 or np.ptp(drop_k) == 0 else spearmanr(score_k, drop_k).statistic
        for score_k, drop_k in pairs
    ]
    return Agreement(
        float(np.mean(ranks)),
        float(np.mean(score_kt.argmax(0) == drop_kt.argmax(0))),
        float(np.mean(np.sign(score_kt) == np.sign(drop_kt))),
    )


def mean_agreement(first: Agreement, second: Agreement) -> Agreement:
    """The mean of two."""
    return Agreement(
        (first.rho + second.rho) / 2, (first.top1 + second.top1) / 2, (first.sign + second.sign) / 2
    )
