"""What a policy sees, what it answers, and the contract between the two.

Axis letters: k domains, t tasks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Integer

from dids.domains.regrouping import Regrouping
from dids.errors import InputError
from dids.impact.matrices import ImpactMatrices
from dids.mixture.limits import MixtureLimits


@dataclass(frozen=True)
class Observation:
    """The state of a run at the end of a round.

    Attributes:
        round: Number of the round that begins; 0 before the run.
        step: Optimizer steps so far.
        tokens: Tokens trained on so far.
        horizon_tokens: Tokens of the round that begins.
        impact: Of every domain on every task; None where it was not measured.
        task_losses: By task, pairs of tokens and validation loss.
        task_weights: The user's weights, in the order of the impact's tasks.
        sizes_k: Samples of each domain.
        draws_k: Samples drawn so far from each domain.
        previous: The mixture that holds now.
        prior: The mixture of someone who knows nothing.
        limits: What every mixture must keep.
        scored_tokens_k: Mean scored tokens of each domain's samples, where the trainer's loss is a
            mean over tokens and long samples count for more. None: samples count the same.
    """

    round: int
    step: int
    tokens: int
    horizon_tokens: int
    impact: ImpactMatrices | None
    task_losses: Mapping[str, Sequence[tuple[int, float]]]
    task_weights: Float[np.ndarray, " t"]
    sizes_k: Integer[np.ndarray, " k"]
    draws_k: Integer[np.ndarray, " k"]
    previous: Float64[np.ndarray, " k"]
    prior: Float64[np.ndarray, " k"]
    limits: MixtureLimits
    scored_tokens_k: Float[np.ndarray, " k"] | None = None

    def __post_init__(self) -> None:
        for task, history in self.task_losses.items():
            for tokens, loss in history:
                if not math.isfinite(loss):
                    raise InputError(
                        f"tasks.{task}: its validation loss is {loss} after {tokens} tokens; a "
                        "lower training.learning_rate usually helps."
                    )
        for name in ("previous", "prior", "task_weights"):
            values = getattr(self, name)
            if not np.isfinite(values).all() or (values < 0).any():
                raise ValueError(f"{name} must be zero or more everywhere, but it is {values}.")


@dataclass(frozen=True)
class PolicyDecision:
    """The next mixture and why.

    Attributes:
        mixture: Within the limits of the observation.
        explanation: Plain JSON values: by task its weight, improvement and potential, by domain its
            utility and what repetition leaves of its value.
    """

    mixture: Float64[np.ndarray, " k"]
    explanation: dict[str, Any] = field(default_factory=dict)


def unmeasured(observation: Observation) -> PolicyDecision:
    """The mixture of before, where a policy that needs impact is given none."""
    kept = observation.limits.project(observation.previous)
    return PolicyDecision(kept, {"note": "no impact was measured: the mixture stays"})


@runtime_checkable
class Policy(Protocol):
    """The rule that makes the next mixture.

    Attributes:
        needs_impact: Whether it looks at the impact at all; measuring it costs time.
    """

    needs_impact: bool

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins."""

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains, made of those of before, and with what was learned of them."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers between rounds; plain JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
