"""What measuring impact may take: samples, how often, and from how many training steps.

Costs are counted in tokens, not in seconds: a run that is repeated, or resumed, measures the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Integer

# Costs in tokens that are trained on (forward, backward, optimizer step), measured on a CPU: a
# token of gradients with their squares took 0.9 to 1.1, of a loss alone 0.17 to 0.35. Adding up a
# training token's gradient by domain took 0.07 where 4 % of a model's entries are kept, 0.10 where
# 10 %, 0.12 where 36 % and 0.19 where all are. The inner products of a measurement took 28 tokens
# for each pair of a domain and a task where all entries are kept.
_GRADIENT_COST = 1.1
_LOSS_COST = 0.35
_COLLECTING_COST = 0.08, 0.12
_PAIR_COST = 28.0
# What no measurement goes without: samples of every task, of its loss, and of every domain.
_LEAST_TASK_SAMPLES = 4
_LEAST_VALIDATION_SAMPLES = 8
_LEAST_DOMAIN_SAMPLES = 8
# Parts of what is left: what the tasks ask for, how they are doing, what the domains give.
_PARTS = 0.5, 0.2, 0.3


@dataclass(frozen=True)
class MeasuringBudget:
    """What one measurement takes, and how often there is one.

    Attributes:
        domain_samples: Extra samples of a domain that training says nothing of; 0 for none.
        task_samples: Gradients of each task.
        validation_samples: Samples of each task whose loss is followed.
        measured_rounds: The rounds that a measurement goes before. None: all.
        collected_rounds: How many rounds' worth of training steps give their gradients by domain
            for a measurement, at most: evenly spread since the one before. Infinity: all.
    """

    domain_samples: int
    task_samples: int
    validation_samples: int
    measured_rounds: tuple[int, ...] | None = None
    collected_rounds: float = math.inf

    @classmethod
    def within(
        cls,
        *,
        domain_samples: int,
        task_samples: int,
        validation_samples: int,
        num_domains: int,
        num_tasks: int,
        trained_samples: int,
        max_share: float,
    ) -> "MeasuringBudget":
        """What was asked for, scaled down to a share of the samples that are trained on.

        At least two samples of each domain and task stay: fewer give no estimate at all.

        Args:
            domain_samples: Asked for, of each domain.
            task_samples: Asked for, of each task.
            validation_samples: Of each task, for its loss.
            num_domains: Domains that need samples of their own; 0 where training gives their
                gradients.
            num_tasks: Tasks.
            trained_samples: Samples that a round trains on; before training, those of the run.
            max_share: Of these, at most.
        """
        asked = num_domains * domain_samples + num_tasks * task_samples
        factor = min(1.0, max_share * trained_samples / asked)
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
        least_measurements: int,
        round_tokens: float,
        num_rounds: int,
        task_tokens: Sequence[float],
        domain_tokens: float,
        task_samples: int,
        validation_samples: int,
        num_domains: int,
        kept_share: float,
        padding: float = 1.0,
    ) -> "MeasuringBudget":
        """The most that a share of the training allows.

        First as many measurements as it pays for, each with the least that says anything; what is
        left makes them better: half of it goes to the tasks' gradients, a fifth to their losses,
        the rest to the domains' gradients, which training computes anyway.

        Args:
            overhead: Cost of measuring over the cost of training, at most.
            least_measurements: So many are made although they cost more than that.
            round_tokens: Tokens that a round trains on.
            num_rounds: Rounds of the run.
            task_tokens: Mean tokens of a validation sample, by task.
            domain_tokens: Mean tokens of a training sample.
            task_samples: At most, of each task.
            validation_samples: At most, of each task.
            num_domains: Domains.
            kept_share: Of the model's parameters, how many are in the inner products.
            padding: Tokens that a training step computes for each that it trains on.

        Example:
            >>> budget = MeasuringBudget.for_overhead(
            ...     0.02, least_measurements=4, round_tokens=200_000, num_rounds=25,
            ...     task_tokens=[100.0, 100.0], domain_tokens=100.0, task_samples=16,
            ...     validation_samples=32, num_domains=10, kept_share=0.1,
            ... )
            >>> budget.task_samples, budget.validation_samples, len(budget.measured_rounds)
            (8, 13, 24)
        """
        task_samples_least = min(_LEAST_TASK_SAMPLES, task_samples)
        validation_least = min(_LEAST_VALIDATION_SAMPLES, validation_samples)
        gradient, loss = sum(task_tokens) * _GRADIENT_COST, sum(task_tokens) * _LOSS_COST
        collecting = collecting_cost(kept_share) * domain_tokens * num_domains * padding
        pairs = _PAIR_COST * len(task_tokens) * num_domains * kept_share
        least = (
            pairs
            + task_samples_least * gradient
            + validation_least * loss
            + _LEAST_DOMAIN_SAMPLES * collecting
        )
        allowed = overhead * round_tokens * num_rounds * padding
        number = max(least_measurements, math.floor(allowed / least))
        number = min(number, num_rounds - 1)
        left = max(0.0, allowed / number - least) if number else 0.0
        parts = [part * left for part in _PARTS]
        round_samples = round_tokens / domain_tokens
        return cls(
            0,
            min(task_samples, task_samples_least + math.floor(parts[0] / gradient)),
            min(validation_samples, validation_least + math.floor(parts[1] / loss)),
            spread_rounds(number, num_rounds),
            (_LEAST_DOMAIN_SAMPLES + parts[2] / collecting) * num_domains / round_samples,
        )

    def shared_by(self, num_processes: int) -> "MeasuringBudget":
        """One process's part where several divide the samples of a measurement among them.

        Example:
            >>> MeasuringBudget(0, 16, 32).shared_by(3).task_samples
            6
        """
        return replace(
            self,
            domain_samples=math.ceil(self.domain_samples / num_processes),
            task_samples=math.ceil(self.task_samples / num_processes),
            validation_samples=math.ceil(self.validation_samples / num_processes),
        )

    def is_collected(self, step: int, round_number: int) -> bool:
        """Whether a training step of a round, counted from 0, gives its gradients by domain."""
        share = self._collected_share(round_number)
        return math.floor((step + 1) * share) > math.floor(step * share)

    def num_measurements(self, num_rounds: int) -> int:
        """Measurements while a run of so many rounds trains."""
        return sum(self.is_measured(number) for number in range(1, num_rounds))

    def collected_share(self, num_rounds: int) -> float:
        """Of a run's training steps, how many give their gradients by domain."""
        return sum(self._collected_share(number) for number in range(num_rounds)) / num_rounds

    def is_measured(self, round_number: int) -> bool:
        """Whether impact is measured at the end of the round before this one."""
        return self.measured_rounds is None or round_number in self.measured_rounds

    def _collected_share(self, round_number: int) -> float:
        """Of a round's steps, how many give their gradients for the next measurement."""
        if self.measured_rounds is None:
            return min(1.0, self.collected_rounds)
        following = [number for number in self.measured_rounds if number > round_number]
        if not following:
            return 0.0  # nothing is measured any more
        before = max((n for n in self.measured_rounds if n <= round_number), default=0)
        return min(1.0, self.collected_rounds / (following[0] - before))


def padding(length_n: Integer[np.ndarray, " n"], batch_size: int) -> float:
    """Tokens that a batch of samples drawn at random computes for each that is not padding.

    Args:
        length_n: Tokens of each sample.
        batch_size: Samples that are padded to the longest of them.

    Example:
        >>> padding(np.array([1, 3], dtype=np.int32), 1), padding(np.array([1, 3], np.int32), 2)
        (1.0, 1.25)
    """
    not_above_l = np.cumsum(np.bincount(length_n)) / len(length_n)
    longest_l = np.diff(not_above_l**batch_size, prepend=0.0)
    return float(np.arange(len(longest_l)) @ longest_l) / float(length_n.mean())


def collecting_cost(kept_share: float) -> float:
    """What adding up a training token's gradient by domain costs, in tokens trained on.

    Args:
        kept_share: Of the model's parameters, how many are added up.
    """
    fixed, by_share = _COLLECTING_COST
    return fixed + by_share * kept_share


def spread_rounds(number: int, num_rounds: int) -> tuple[int, ...]:
    """The rounds that so many measurements go before, closer to each other at the beginning.

    The sooner something is known, the more of the run is made by it, and the faster it changes.

    Args:
        number: Of measurements, less than there are rounds.
        num_rounds: Rounds of the run, counted from 0; none is needed before the first.

    Example:
        >>> spread_rounds(6, 25)
        (1, 2, 4, 7, 12, 18)
    """
    rounds: list[int] = []
    for place in range(number):
        wanted = 1 + round((num_rounds - 1) * (place / number) ** 2)
        rounds.append(max(wanted, rounds[-1] + 1 if rounds else 1))
    # Where they crowd at the beginning, the last of them may have been pushed beyond the end.
    return tuple(min(one, num_rounds - number + place) for place, one in enumerate(rounds))
