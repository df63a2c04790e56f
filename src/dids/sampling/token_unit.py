"""Mixtures in tokens: the shares of samples that make the shares of tokens come out as asked.

A domain's credit is then in tokens, and feedback: what a step drew is known to the token before the
next is planned. Counts within a step go by mean lengths, so what the shares of tokens are off by is
how far the lengths of that one step's samples were from their means, and two samples of rounding
(worst of 1,800 random mixtures: two thirds of that sum). It does not add up over steps.

Axis letters: k domains.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

Unit = Literal["samples", "tokens"]
"""What the weights of a mixture are shares of."""


def sample_shares(
    probability_k: Float64[np.ndarray, " k"], mean_length_k: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """Shares of samples whose expected shares of tokens are ``probability_k``.

    Example:
        >>> sample_shares(np.array([0.5, 0.5]), np.array([100.0, 300.0]))
        array([0.75, 0.25])
    """
    share_k = probability_k / mean_length_k
    return np.asarray(share_k / share_k.sum())


def sample_credits(
    token_credit_k: Float64[np.ndarray, " k"],
    share_k: Float64[np.ndarray, " k"],
    mean_length_k: Float64[np.ndarray, " k"],
) -> Float64[np.ndarray, " k"]:
    """Credits in samples, summing to zero, that settle credits in tokens with the next step.

    A step of B samples that settles them has ``n_k = credit_k / m_k + p_k λ / m_k``, where λ is the
    step's tokens and follows from ``Σ n_k = B``: ``n_k = c_k + share_k (B − Σ c)`` with
    ``c_k = credit_k / m_k``.
    """
    credit_k = token_credit_k / mean_length_k
    return np.asarray(credit_k - share_k * credit_k.sum())


def next_token_credits(
    token_credit_k: Float64[np.ndarray, " k"],
    probability_k: Float64[np.ndarray, " k"],
    is_active_k: Bool[np.ndarray, " k"],
    drawn_tokens_k: Int64[np.ndarray, " k"],
) -> Float64[np.ndarray, " k"]:
    """Credits after a step; those of domains that took no part go to the others by weight."""
    asked_k = np.where(is_active_k, probability_k, 0.0)
    asked_k /= asked_k.sum()
    left_over = float(token_credit_k[~is_active_k].sum())
    total = float(drawn_tokens_k.sum()) + left_over
    return np.asarray(np.where(is_active_k, token_credit_k, 0.0) + asked_k * total - drawn_tokens_k)
