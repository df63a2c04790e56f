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
class TrainedOn:
    """What training has shown of the domains since the policy was last asked.

    Attributes:
        tokens_k: Scored tokens of each domain that were trained on.
        loss_k: Mean loss of these tokens as they were trained on; NaN where there were none.
        excess_k: Mean of what each token's loss is above a reference model's, zero where it is not.
            None without a reference.
        confidence_k: Mean probability of the likeliest next token. None where not needed.
    """

    tokens_k: Float[np.ndarray, " k"]
    loss_k: Float[np.ndarray, " k"]
    excess_k: Float[np.ndarray, " k"] | None = None
    confidence_k: Float[np.ndarray, " k"] | None = None


@dataclass(frozen=True)
class FeatureSamples:
    """Gradient features, of length 1, of some samples of every domain and every task.

    Attributes:
        domains: One array ``[n, d]`` for each domain.
        tasks: One array ``[n, d]`` for each task, in the order of ``task_names``.
        task_names: Of the tasks.
    """

    domains: tuple[Float[np.ndarray, "_ d"], ...]
    tasks: tuple[Float[np.ndarray, "_ d"], ...]
    task_names: tuple[str, ...]


@dataclass(frozen=True)
class Observation:
    """The state of a run at the end of a round.

    Attributes:
        round: Number of the round that begins; 0 before the run.
        step: Optimizer steps so far.
        tokens: Tokens trained on so far.
        horizon_tokens: Tokens of the round that begins.
        impact: Of every domain on every task; None where it was not measured.
        task_losses: By task, pairs of tokens and validation loss; of tasks that have one.
        task_weights: The user's weights, in the order of the impact's tasks.
        sizes_k: Samples of each domain.
        draws_k: Samples drawn so far from each domain.
        previous: The mixture that holds now.
        prior: The mixture of someone who knows nothing.
        limits: What every mixture must keep.
        scored_tokens_k: Mean scored tokens of each domain's samples, where the trainer's loss is a
            mean over tokens and long samples count for more. None: samples count the same.
        progress: Part of the run that is over, from 0 to 1.
        num_steps: Optimizer steps that the run is expected to have.
        training_flops: Floating-point operations that training is expected to take: 6 times the
            model's parameters times the run's tokens (Kaplan et al. 2020, arXiv:2001.08361). None:
            nobody said.
        trained: What training has shown of the domains since the policy was last asked. None where
            the policy's `Needs` do not name it, and before the run.
        features: Gradient features of samples of domains and tasks. None where not needed.
        brackets_kk: How much sooner than domain j domain i should come: half of what training on i
            and then on j lowers the tasks' mean loss beyond j and then i, to second order.
            Antisymmetric. None where not needed, and before the first round.
        domain_names: Of the domains, in their order. Empty: nobody said.
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
    progress: float = 0.0
    num_steps: int = 1
    training_flops: float | None = None
    trained: TrainedOn | None = None
    features: FeatureSamples | None = None
    brackets_kk: Float64[np.ndarray, "k k"] | None = None
    domain_names: tuple[str, ...] = ()

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
        if len(self.task_weights) > 0 and not self.task_weights.any():
            raise ValueError("task_weights are all zero; at least one task must count.")
        num = self.limits.num_domains
        for name in ("sizes_k", "draws_k", "previous", "prior"):
            if len(getattr(self, name)) != num:
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} entries, but limits are of {num} "
                    "domains."
                )
        if self.impact is not None:
            shape = (num, len(self.task_weights))
            if self.impact.kernel_kt.shape != shape:
                raise ValueError(
                    f"impact is of {self.impact.kernel_kt.shape} domains and tasks, but limits and "
                    f"task_weights are of {shape}."
                )


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


def unmeasured(observation: Observation, missing: str = "no impact was measured") -> PolicyDecision:
    """The mixture of before, where a policy is not given what it needs.

    Args:
        observation: What it is given.
        missing: What is not there, for the explanation.
    """
    kept = observation.limits.project(observation.previous)
    return PolicyDecision(kept, {"note": f"{missing}: the mixture stays"})


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
