"""What measuring impact may take: samples, how often, and from how many training steps.

Costs are counted in tokens, not in seconds: a run that is repeated, or resumed, measures the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Costs in tokens that are trained on (forward, backward, optimizer step), measured on a CPU: a
# token of gradients with their squares took 0.9 to 1.2, of a loss alone 0.17 to 0.35. Adding up a
# training token's gradient by domain took 0.07 where 4 % of a model's entries are kept and 0.31
# where 36 % are. The inner products of a measurement took 95 tokens for each pair of a domain and a
# task where all entries are kept.
_GRADIENT_COST = 1.2
_LOSS_COST = 0.35
_COLLECTING_COST = 0.04, 0.75
_PAIR_COST = 95.0
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
        num_domains: int,
        kept_share: float,
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
            num_domains: Domains.
            kept_share: Of the model's parameters, how many are in the inner products.

        Example:
            >>> budget = MeasuringBudget.for_overhead(
            ...     0.1, round_tokens=100_000, num_rounds=10, task_tokens=[100.0, 100.0],
            ...     task_samples=16, validation_samples=32, num_domains=10, kept_share=0.1,
            ... )
            >>> budget.task_samples, budget.validation_samples, budget.every
            (16, 28, 1)
        """
        all_tokens = sum(task_tokens)
        allowed = overhead * round_tokens
        gradients, losses = (part * allowed for part in _PARTS[:2])
        pairs = _PAIR_COST * len(task_tokens) * num_domains * kept_share
        every = max(
            math.ceil((pairs + _LEAST_TASK_SAMPLES * all_tokens * _GRADIENT_COST) / gradients),
            math.ceil(_LEAST_VALIDATION_SAMPLES * all_tokens * _LOSS_COST / losses),
        )
        every = min(max(1, every), num_rounds)
        task_samples = _between(
            (every * gradients - pairs) / (all_tokens * _GRADIENT_COST), 2, task_samples
        )
        validation_samples = _between(
            every * losses / (all_tokens * _LOSS_COST), 1, validation_samples
        )
        spent = pairs + all_tokens * (
            task_samples * _GRADIENT_COST + validation_samples * _LOSS_COST
        )
        left = allowed - spent / every
        share = left / (collecting_cost(kept_share) * round_tokens)
        return cls(0, task_samples, validation_samples, every, min(1.0, max(0.0, share)))

    def is_collected(self, step: int) -> bool:
        """Whether a training step, counted from 0, gives its gradients: evenly spread."""
        share = self.collected_share
        return math.floor((step + 1) * share) > math.floor(step * share)

    def is_measured(self, round_number: int) -> bool:
        """Whether impact is measured at the end of the round before this one."""
        return round_number % self.every == 0


def collecting_cost(kept_share: float) -> float:
    """What adding up a training token's gradient by domain costs, in tokens trained on.

    Args:
        kept_share: Of the model's parameters, how many are added up.
    """
    fixed, by_share = _COLLECTING_COST
    return fixed + by_share * kept_share


def _between(value: float, least: int, most: int) -> int:
    return max(least, min(most, math.floor(value)))
