"""Policies that make runs of their own before the run: what they may ask for, what they get.

Axis letters: k domains, t tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Integer

from dids.errors import InputError
from dids.mixture.limits import MixtureLimits
from dids.mixture.observation import Policy


@dataclass(frozen=True)
class Trial:
    """A run that a policy asked for.

    Attributes:
        folder: Where it lies; a later trial may take its model for a reference.
        mean_mixture_k: The mixture averaged over its steps.
        task_losses: By task, pairs of tokens and validation loss: before the run, at the ends of
            rounds, and after it.
        tokens: That it trained on.
        elapsed_s: That it took, measuring included.
    """

    folder: Path
    mean_mixture_k: Float64[np.ndarray, " k"]
    task_losses: Mapping[str, tuple[tuple[int, float], ...]]
    tokens: int
    elapsed_s: float

    def final_losses(self, task_names: tuple[str, ...]) -> Float64[np.ndarray, " t"]:
        """Validation loss of every task after the run."""
        return np.array([self.task_losses[task][-1][1] for task in task_names])


@runtime_checkable
class Trials(Protocol):
    """Where a policy's own runs are made; one that was made before is not made again.

    Attributes:
        domain_names: Of the run's domains.
        task_names: Of the tasks that have a loss.
        task_weights: The user's, in the order of ``task_names``.
        sizes_k: Samples of each domain.
        prior: The mixture of someone who knows nothing.
        limits: What every mixture must keep.
        budget_tokens: Of the run that the search is for.
        seed: Of that run.
    """

    domain_names: tuple[str, ...]
    task_names: tuple[str, ...]
    task_weights: Float[np.ndarray, " t"]
    sizes_k: Integer[np.ndarray, " k"]
    prior: Float64[np.ndarray, " k"]
    limits: MixtureLimits
    budget_tokens: int
    seed: int

    def run(
        self,
        name: str,
        policy: Policy,
        *,
        model: Literal["proxy", "model"] = "proxy",
        budget: float = 1.0,
        rounds: int | None = None,
        reference: Trial | None = None,
    ) -> Trial:
        """Train under a policy and say what became of the tasks.

        Args:
            name: Of the trial, a file name; unlike all others of this search.
            policy: The rule; limits hold for it as in the run itself.
            model: Which model of the config is trained, from its beginning.
            budget: Tokens as a fraction of the run's.
            rounds: How often impact and tasks are looked at. None: as in the run.
            reference: Whose model the losses of the domains are compared with, where the policy
                needs a reference.
        """


@runtime_checkable
class Searches(Protocol):
    """A policy that makes runs of its own before the run.

    Whatever it finds goes into its ``state_dict``: the run goes on with that.
    """

    def search(self, trials: Trials) -> None:
        """Find what the policy needs to know before its first mixture."""


def scored_task_names(trials: Trials, policy: str) -> tuple[str, ...]:
    """The tasks that trials are compared by.

    Raises:
        InputError: If there are none.
    """
    if not trials.task_names:
        raise InputError(
            f"mixture.policy: '{policy}' compares its trials by the tasks' validation losses, but "
            "no task has one; give the items of a task completions."
        )
    return trials.task_names
