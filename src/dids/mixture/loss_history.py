"""Losses of domains over a run, kept in a few blocks however long the run is.

Axis letters: b blocks, k domains.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from dids.domains.regrouping import Regrouping

_MOST_BLOCKS = 64


class LossHistory:
    """Mean losses in blocks of equally many looks; where there are too many, two make one.

    Example:
        >>> history = LossHistory()
        >>> history.add(1.0, np.array([10.0, 0.0]), np.array([4.0, np.nan]))
        >>> history.seen_b(), history.loss_bk()
        (array([1.]), array([[ 4., nan]]))
    """

    def __init__(self) -> None:
        self._width = 1
        self._looks_b: list[int] = []
        self._log_seen_b: list[float] = []
        self._tokens_bk: list[np.ndarray] = []
        self._nats_bk: list[np.ndarray] = []

    def add(
        self, seen: float, tokens_k: Float[np.ndarray, " k"], loss_k: Float[np.ndarray, " k"]
    ) -> None:
        """Take in one look.

        Args:
            seen: What the run had trained on by then, above zero.
            tokens_k: Tokens of each domain that the losses are means over.
            loss_k: In nats; NaN where there were no tokens.
        """
        if len(self._looks_b) == _MOST_BLOCKS and self._looks_b[-1] == self._width:
            self._halve()
        nats_k = np.where(tokens_k > 0, np.nan_to_num(loss_k) * tokens_k, 0.0)
        if not self._looks_b or self._looks_b[-1] == self._width:
            self._looks_b.append(0)
            self._log_seen_b.append(0.0)
            self._tokens_bk.append(np.zeros(len(tokens_k)))
            self._nats_bk.append(np.zeros(len(tokens_k)))
        self._looks_b[-1] += 1
        self._log_seen_b[-1] += math.log(seen)
        self._tokens_bk[-1] = self._tokens_bk[-1] + tokens_k
        self._nats_bk[-1] = self._nats_bk[-1] + nats_k

    def seen_b(self) -> Float[np.ndarray, " b"]:
        """What the run had trained on, the geometric mean over each block."""
        return np.asarray(np.exp(np.array(self._log_seen_b) / np.array(self._looks_b)))

    def loss_bk(self) -> Float[np.ndarray, "b k"]:
        """Mean loss of each domain's tokens in each block; NaN where there were none."""
        tokens_bk, nats_bk = np.stack(self._tokens_bk), np.stack(self._nats_bk)
        has_some_bk = tokens_bk > 0
        return np.where(has_some_bk, nats_bk / np.where(has_some_bk, tokens_bk, 1.0), np.nan)

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._looks_b)

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains, which take their parts of tokens and losses along."""
        passed_kj = regrouping.passed_kj
        self._tokens_bk = [np.asarray(passed_kj @ tokens_j) for tokens_j in self._tokens_bk]
        self._nats_bk = [np.asarray(passed_kj @ nats_j) for nats_j in self._nats_bk]

    def state_dict(self) -> dict[str, Any]:
        """The blocks."""
        return {
            "width": self._width,
            "looks": list(self._looks_b),
            "log_seen": list(self._log_seen_b),
            "tokens": [tokens_k.tolist() for tokens_k in self._tokens_bk],
            "nats": [nats_k.tolist() for nats_k in self._nats_bk],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._width = int(state["width"])
        self._looks_b = [int(looks) for looks in state["looks"]]
        self._log_seen_b = [float(seen) for seen in state["log_seen"]]
        self._tokens_bk = [np.array(tokens, dtype=np.float64) for tokens in state["tokens"]]
        self._nats_bk = [np.array(nats, dtype=np.float64) for nats in state["nats"]]

    def _halve(self) -> None:
        pairs = range(0, _MOST_BLOCKS, 2)
        self._looks_b = [self._looks_b[b] + self._looks_b[b + 1] for b in pairs]
        self._log_seen_b = [self._log_seen_b[b] + self._log_seen_b[b + 1] for b in pairs]
        self._tokens_bk = [self._tokens_bk[b] + self._tokens_bk[b + 1] for b in pairs]
        self._nats_bk = [self._nats_bk[b] + self._nats_bk[b + 1] for b in pairs]
        self._width *= 2
