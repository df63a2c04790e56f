"""What planning carries from step to step, and blocks of steps that were planned together.

Axis letters: k domains, b samples of one step, s steps.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64


@dataclass(frozen=True)
class Anchor:
    """Where the present mixture, or set of domains that have something left, began to hold.

    From there on counts are a function of the number of samples alone.

    Attributes:
        drawn_k: Samples drawn before it.
        credit_k: What was asked for minus what was drawn, in the mixture's unit.
        mixture_k: The mixture that began to hold.
    """

    drawn_k: Int64[np.ndarray, " k"]
    credit_k: Float64[np.ndarray, " k"]
    mixture_k: Float64[np.ndarray, " k"]


@dataclass(frozen=True)
class Progress:
    """Everything that planning carries from step to step.

    Attributes:
        step: The step that it is carried into.
        anchor: Of the mixture of the step before; in tokens, of that step's end.
        drawn_k: Samples drawn so far.
        tokens_k: Tokens drawn so far.
    """

    step: int
    anchor: Anchor
    drawn_k: Int64[np.ndarray, " k"]
    tokens_k: Int64[np.ndarray, " k"]


@dataclass(frozen=True)
class Block:
    """Consecutive steps.

    Attributes:
        first: What is carried into the first of them.
        last: What is carried out of the last of them.
        anchor: Between these, where there are several steps.
        domain_sb: Domain of every sample, each step in an order without meaning.
        tokens_sb: Its tokens; one number where all samples are equally long.
        plan_sb: Sample ids, each step in the order in which it is batched. Read-only.
    """

    first: Progress
    last: Progress
    anchor: Anchor
    domain_sb: Int64[np.ndarray, "s b"]
    tokens_sb: np.ndarray | int
    plan_sb: Int64[np.ndarray, "s b"]

    def progress(self, num_steps: int) -> Progress:
        """What is carried out of the first ``num_steps`` of its steps."""
        if num_steps == 0:
            return self.first
        if num_steps == len(self.plan_sb):
            return self.last
        drawn_k, tokens_k = drawn_by_domain(
            self.domain_sb[:num_steps], self._tokens(num_steps), len(self.first.drawn_k)
        )
        return Progress(
            self.first.step + num_steps,
            self.anchor,
            self.first.drawn_k + drawn_k,
            self.first.tokens_k + tokens_k,
        )

    def until(self, num_steps: int) -> "Block":
        """Its first ``num_steps`` steps."""
        return Block(
            self.first,
            self.progress(num_steps),
            self.anchor,
            self.domain_sb[:num_steps],
            self._tokens(num_steps),
            self.plan_sb[:num_steps],
        )

    def _tokens(self, num_steps: int) -> np.ndarray | int:
        return self.tokens_sb if isinstance(self.tokens_sb, int) else self.tokens_sb[:num_steps]


def drawn_by_domain(
    domain: np.ndarray, tokens: np.ndarray | int, num_domains: int
) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Samples and tokens of each domain, from those of every sample."""
    drawn_k = np.bincount(domain.ravel(), minlength=num_domains)
    if isinstance(tokens, int):
        return drawn_k, drawn_k * tokens
    # Sums of whole numbers below 2**53 are exact.
    tokens_k = np.bincount(domain.ravel(), tokens.ravel(), num_domains)
    return drawn_k, tokens_k.astype(np.int64)
