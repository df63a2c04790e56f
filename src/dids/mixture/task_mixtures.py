"""The mixture that each task would train on if all data were its own.

One problem for all tasks weighs what they ask for against each other, and the task whose gradients
align best, or the domain whose steps are shortest, draws the data. Here every task has a share of
the data to itself and spends it where it is served best.

Axis letters: k domains, d those that a task is pulled to, t tasks.
"""

import numpy as np
from jaxtyping import Float64
from scipy.optimize import lsq_linear

from dids.impact.nearest_psd import without_noise

# Of the unit diagonal: keeps the problem strictly convex, and copies sharing their weight.
_LEAST_EIGENVALUE = 1e-6


def task_mixtures(
    gram_tkk: Float64[np.ndarray, "t k k"],
    pull_kt: Float64[np.ndarray, "k t"],
    prior_k: Float64[np.ndarray, " k"],
    *,
    signal_tk: Float64[np.ndarray, "t k"] | None = None,
    prior_vote: float,
    damping: float,
) -> Float64[np.ndarray, "t k"]:
    """Each task's own mixture: where it is pulled, less what domains have in common, and the prior.

    ``q_t = argmin over q >= 0 of 1/2 q' (C_t + d) q - (1 + d) v_t' q``, then ``q_t + c * prior``
    scaled to a sum of 1. A mixture is one task's, yet all tasks live with it: ``v`` should be what
    `net_pull` leaves. ``C_t`` holds the cosines of the domains' steps in the task's metric where
    they are positive: what one of two like domains gives, the other need not give again. A domain
    that a task is not pulled to gets nothing from it but its part of the prior, and changes nothing
    for the others: were negative cosines let in, domains that help nobody would be drawn to cancel
    what others do.

    Args:
        gram_tkk: Inner products of the domains' steps in each task's metric.
        pull_kt: v, how far a task is pulled to a domain, in votes of one size; negative: away.
        prior_k: A mixture, for those who know nothing.
        signal_tk: Squared lengths of the steps without the noise of estimating them
            (`ImpactMatrices`). None: there is none in ``gram_tkk``.
        prior_vote: c, the prior's own vote: a task's pulls that add up to it get half of its share.
        damping: d, how little the cosines are trusted: 0 takes copies for one domain, infinity all
            domains for different.

    Returns:
        A mixture for every task.

    Raises:
        ValueError: If ``prior_vote`` is not above 0 or ``damping`` is below it.

    Example:
        >>> copies = np.array([[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> pull = np.array([[0.5], [0.5], [0.5]])
        >>> task_mixtures(copies, pull, np.ones(3) / 3, prior_vote=1e-9, damping=0.0).round(3)
        array([[0.25, 0.25, 0.5 ]])
    """
    if not prior_vote > 0.0 or not damping >= 0.0:
        raise ValueError(
            f"prior_vote must be above 0 and damping 0 or more, but are {prior_vote}, {damping}."
        )
    mixtures = np.empty((len(gram_tkk), len(prior_k)))
    for task, (gram_kk, pull_k) in enumerate(zip(gram_tkk, pull_kt.T, strict=True)):
        share_k = prior_vote * prior_k
        # C has no negative entry, so that no other domain is drawn: its slope is upwards.
        drawn_d = np.flatnonzero(pull_k > 0.0)
        if len(drawn_d):
            gram_dd = gram_kk[np.ix_(drawn_d, drawn_d)]
            if signal_tk is not None:
                (gram_dd,) = without_noise(gram_dd[None], signal_tk[task, drawn_d][None])
            shared_dd = common_part(gram_dd) + damping * np.eye(len(drawn_d))
            share_k[drawn_d] += _nonnegative_minimiser(shared_dd, (1.0 + damping) * pull_k[drawn_d])
        mixtures[task] = share_k / share_k.sum()
    return mixtures


def diminished(
    mixture_k: Float64[np.ndarray, " k"], prior_k: Float64[np.ndarray, " k"], returns: float
) -> Float64[np.ndarray, " k"]:
    """A mixture whose differences are smaller: the more a domain has, the less another part brings.

    What every domain has, in units of the prior, stays; what is above it is raised to a power, in
    units of the prior, and scaled back to the same sum. A domain split in two stays what it was.

    Args:
        mixture_k: A mixture.
        prior_k: A positive mixture.
        returns: The power, from 0 (all that have anything have the same) to 1 (nothing changes).

    Returns:
        A mixture, in the same order.

    Example:
        >>> diminished(np.array([0.7, 0.2, 0.1]), np.ones(3) / 3, 0.5).round(3)
        array([0.597, 0.303, 0.1  ])
    """
    ratio_k = mixture_k / prior_k
    base = float(ratio_k.min())
    above_k = prior_k * np.maximum(ratio_k - base, 0.0) ** returns
    above_k[ratio_k <= base] = 0.0
    if above_k.sum() <= 0.0:
        return mixture_k
    rest = 1.0 - base * float(prior_k.sum())
    return np.asarray(base * prior_k + rest * above_k / above_k.sum())


def net_pull(
    pull_kt: Float64[np.ndarray, "k t"], weight_t: Float64[np.ndarray, " t"]
) -> Float64[np.ndarray, "k t"]:
    """The pulls to a domain, less what it does harm.

    ``v_kt * max(0, sum_s w_s v_ks) / sum_s w_s max(0, v_ks)`` where ``v_kt`` is positive: what
    helps one task and harms others by as much counts for nothing. Where it is negative, it stays.

    Args:
        pull_kt: How far each task is pulled to each domain; negative: away.
        weight_t: Of the tasks.

    Returns:
        Pulls, no greater.

    Example:
        >>> net_pull(np.array([[1.0, 0.0], [1.0, -0.25], [0.5, -2.0]]), np.array([0.5, 0.5]))
        array([[ 1.  ,  0.  ],
               [ 0.75, -0.25],
               [ 0.  , -2.  ]])
    """
    helped_k = np.maximum(pull_kt, 0.0) @ weight_t
    left_k = np.zeros_like(helped_k)
    np.divide(np.maximum(pull_kt @ weight_t, 0.0), helped_k, out=left_k, where=helped_k > 0)
    return np.asarray(np.where(pull_kt > 0.0, pull_kt * left_k[:, None], pull_kt))


def common_part(gram_kk: Float64[np.ndarray, "k k"]) -> Float64[np.ndarray, "k k"]:
    """Positive cosines, 1 on the diagonal, made positive definite by as much as it takes."""
    length_k = np.sqrt(np.maximum(np.diagonal(gram_kk), 0.0))
    cosine_kk = np.zeros_like(gram_kk)
    product_kk = np.outer(length_k, length_k)
    np.divide(gram_kk, product_kk, out=cosine_kk, where=product_kk > 0)
    np.fill_diagonal(cosine_kk, 1.0)
    cosine_kk = np.clip(cosine_kk, 0.0, 1.0)
    missing = _LEAST_EIGENVALUE - float(np.linalg.eigvalsh(cosine_kk)[0])
    if missing > 0.0:
        cosine_kk = (cosine_kk + missing * np.eye(len(length_k))) / (1.0 + missing)
    return np.asarray(cosine_kk)


def _nonnegative_minimiser(quadratic_kk: np.ndarray, linear_k: np.ndarray) -> np.ndarray:
    """Of ``1/2 q' Q q - v' q`` over ``q >= 0``: bounded least squares in Q's square root.

    Not by ``scipy.optimize.nnls``, which gave weight to entries that the optimum leaves at zero in
    49 of 3,000 random problems of this kind (SciPy 1.17).
    """
    lower_kk = np.linalg.cholesky(quadratic_kk)
    found = lsq_linear(
        lower_kk.T,
        np.linalg.solve(lower_kk, linear_k),
        bounds=(0.0, np.inf),
        method="bvls",
        tol=1e-14,
    )
    return np.asarray(np.maximum(found.x, 0.0))
