"""How far every domain has been used: draws, epochs, repeats, and what is left of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DomainUsage:
    """A domain after some number of steps.

    Attributes:
        samples: Samples drawn.
        tokens: Tokens of these.
        epochs: Passes over the domain; 1.5 is once and a half.
        repeats: Passes beyond the first, 0 in the first.
        samples_left: Samples that may still be drawn; None: no limit.
        tokens_left: Tokens of these, with the domain's mean length for those of the passes to come;
            None: no limit.
    """

    samples: int
    tokens: int
    epochs: float
    repeats: float
    samples_left: int | None
    tokens_left: int | None
