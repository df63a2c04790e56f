"""How long a run's rounds are, and what is measured at their ends."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import nn
from torch.optim import Optimizer

from dids.gradients.grouped_gradients import GroupedGradients
from dids.impact.estimate import ImpactMeasurement
from dids.impact.measuring_budget import MeasuringBudget

_MOST_MIXTURES = 2000


@runtime_checkable
class MeasuresImpact(Protocol):
    """What a run needs of an impact estimator.

    Attributes:
        budget: How often to measure, and which training steps give their gradients.
    """

    budget: MeasuringBudget

    def grouped_gradients(self, model: nn.Module, *, index: int) -> GroupedGradients | None:
        """What collects the domains' gradients while the model trains; None: nothing does.

        ``index`` is the number of measurements so far.
        """

    def measure(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        *,
        index: int,
        training: GroupedGradients | None = None,
    ) -> ImpactMeasurement:
        """Impact of every domain on every task, at the model as it is."""

    def task_losses(self, model: nn.Module) -> Mapping[str, float]:
        """Validation loss of every task, on the same samples each time."""

    def brackets(self, model: nn.Module, *, index: int) -> np.ndarray:
        """Lie brackets of the domains' gradients ``[k, k]``, as `Observation` has them."""


@dataclass(frozen=True)
class RoundPlan:
    """How long a run is and when its mixture may change.

    Attributes:
        budget_tokens: The run ends with the first step that reaches it. None: after
            ``nominal_steps``.
        num_rounds: Rounds of equally many tokens.
        apply_lag: Steps between a decision and the first step that follows it.
        nominal_steps: Expected number of steps, for the learning rate and the progress bar.
        training_flops: As `Observation` has it.
        expected_tokens: Of a run without ``budget_tokens``. None: nobody said.
    """

    budget_tokens: int | None
    num_rounds: int
    apply_lag: int
    nominal_steps: int
    training_flops: float | None = None
    expected_tokens: float | None = None

    @property
    def round_tokens(self) -> int:
        """Tokens of a round, at least one."""
        return max(1, int(self.budget_tokens or self.expected_tokens or 0) // self.num_rounds)

    def steps_between(self, every_steps: int) -> int:
        """Steps between mixtures within a round; rarer in long runs, which remember them all.

        Example:
            >>> plan = RoundPlan(None, 10, 1, nominal_steps=50_000)
            >>> plan.steps_between(1), plan.steps_between(100)
            (25, 100)
        """
        return max(every_steps, math.ceil(self.nominal_steps / _MOST_MIXTURES))
