"""What measuring impact may take: samples, how often, and from how many training steps.

Costs are counted in tokens, not in seconds: a run that is repeated, or resumed, measures the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# What a token costs beside one that is trained on (forward, backward and optimizer step; measured
# on a CPU, benchmarks/gradients): gradients with their squares; a loss alone; adding up a
# training sample's gradient by domain, at a quarter of the columns.
_GRADIENT_COST = 1.2
_LOSS_COST = 0.35
_COLLECTING_COST = 0.1
# Parts of an overhead: what the tasks ask for, how they are doing, what the domains give.
_PARTS = 0.5, 0.2, 0.3
_LEAST_TASK_SAMPLES = 4
_LEAST_VALIDATION_SAMPLES = 8


@dataclass(frozen=True)
class MeasuringBudget:
    """What one measurement takes, and how often there is one.

    Attributes:
        domain_samples: Extra samples of a domain that training says nothing of; 0 for none.
        task_samples: Gradients of each task.
        validation_samples: Samples of each task whose loss is followed.
        every: Rounds from one measurement to the next.
        collected_share: Of the training steps, how many give their gradients by domain.
    """

    domain_samples: int
    task_samples: int
    validation_samples: int
    every: int = 1
    collected_share: float = 1.0

    @classmethod
    def within(
        cls,
        *,
        domain_samples: int,
        task_samples: int,
        validation_samples: int,
        num_domains: int,
        num_tasks: int,
        round_samples: int,
        max_share: float,
    ) -> "MeasuringBudget":
        """What was asked for, scaled down to a share of the samples that a round trains on.

        At least two samples of each domain and task stay: fewer give no estimate at all.

        Args:
            domain_samples: Asked for, of each domain.
            task_samples: Asked for, of each task.
            validation_samples: Of each task, for its loss.
            num_domains: Domains that need samples of their own; 0 where training gives their
                gradients.
            num_tasks: Tasks.
            round_samples: Samples that a round trains on.
            max_share: Of these, at most.
        """
        asked = num_domains * domain_samples + num_tasks * task_samples
        factor = min(1.0, max_share * round_samples / asked)
        return cls(
            max(2, math.floor(domain_samples * factor)),
            max(2, math.floor(task_samples * factor)),
            validation_samples,
        )

    @classmethod
    def for_overhead(
        cls,
        overhead: float,
        *,
        round_tokens: float,
        num_rounds: int,
        task_tokens: Sequence[float],
        task_samples: int,
        validation_samples: int,
    ) -> "MeasuringBudget":
        """The most that a share of the training allows.

        Half goes to the tasks' gradients, a fifth to their losses, the rest to the domains'
        gradients, which training computes anyway. Where a round does not pay for a few samples of
        every task, there is a measurement every few rounds only.

        Args:
            overhead: Cost of measuring over the cost of training, at most.
            round_tokens: Tokens that a round trains on.
            num_rounds: Rounds of the run.
            task_tokens: Mean tokens of a validation sample, by task.
            task_samples: At most, of each task.
            validation_samples: At most, of each task.

        Example:
            >>> budget = MeasuringBudget.for_overhead(
            ...     0.1, round_tokens=100_000, num_rounds=10, task_tokens=[100.0, 100.0],
            ...     task_samples=16, validation_samples=32,
            ... )
            >>> budget.task_samples, budget.validation_samples, budget.every
            (16, 28, 1)
        """
        all_tokens = sum(task_tokens)
        allowed = overhead * round_tokens
        gradients, losses = (part * allowed for part in _PARTS[:2])
        every = max(
            math.ceil(_LEAST_TASK_SAMPLES * all_tokens * _GRADIENT_COST / gradients),
            math.ceil(_LEAST_VALIDATION_SAMPLES * all_tokens * _LOSS_COST / losses),
        )
        every = min(max(1, every), num_rounds)
        found = cls(
            0,
            _between(every * gradients / (all_tokens * _GRADIENT_COST), 2, task_samples),
            _between(every * losses / (all_tokens * _LOSS_COST), 1, validation_samples),
            every,
        )
        left = allowed - found.task_cost(task_tokens) / every
        share = min(1.0, max(0.0, left / (_COLLECTING_COST * round_tokens)))
        return cls(0, found.task_samples, found.validation_samples, every, share)

    def task_cost(self, task_tokens: Sequence[float]) -> float:
        """What one measurement takes from the tasks, in tokens that are trained on."""
        return sum(task_tokens) * (
            self.task_samples * _GRADIENT_COST + self.validation_samples * _LOSS_COST
        )

    def cost_share(self, round_tokens: float, task_tokens: Sequence[float]) -> float:
        """Expected cost of measuring over the cost of training, domains' extra samples aside."""
        tasks = self.task_cost(task_tokens) / (self.every * round_tokens)
        return tasks + _COLLECTING_COST * self.collected_share

    def is_collected(self, step: int) -> bool:
        """Whether a training step, counted from 0, gives its gradients: evenly spread."""
        share = self.collected_share
        return math.floor((step + 1) * share) > math.floor(step * share)

    def is_measured(self, round_number: int) -> bool:
        """Whether impact is measured at the end of the round before this one."""
        return round_number % self.every == 0


def _between(value: float, least: int, most: int) -> int:
    return max(least, min(most, math.floor(value)))
