"""How impact is measured on a Trainer's own samples, and what that may cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np
from torch import nn

from dids.errors import InputError, check_choice
from dids.impact.blockwise_products import Within
from dids.impact.estimate import ImpactEstimator
from dids.impact.measuring_budget import MeasuringBudget, padding
from dids.mixture.needs import Needs
from dids.training.trainer_data import TrainerData

_FIRST_SAMPLES = 48, 128
"""Of each domain and of each task for the first measurement, at most: as on a proxy."""


@dataclass(frozen=True)
class TrainerMeasuring:
    """What `PolicyMixture` is told of measuring, by the same names.

    Attributes:
        within: Its ``metric``.
        overhead: Of the measurements in rounds.
        first_overhead: Of that before the first step.
        task_samples: Of each task.
        validation_samples: Of each task.
        max_coordinates: In the inner products.
        measures_first: Whether there is a measurement before the first step.

    Raises:
        InputError: If one of them is none that can be.
    """

    within: str
    overhead: float
    first_overhead: float
    task_samples: int
    validation_samples: int
    max_coordinates: int | None
    measures_first: bool

    def __post_init__(self) -> None:
        check_choice("metric", self.within, get_args(Within))
        shares = {"overhead": self.overhead, "first_overhead": self.first_overhead}
        for name, share in shares.items():
            if not 0.0 < share <= 1.0:
                raise InputError(f"{name} must be above 0 and at most 1, but it is {share!r}.")
        check_at_least(2, task_samples=self.task_samples)
        check_at_least(1, validation_samples=self.validation_samples)
        if self.max_coordinates is not None:
            check_at_least(1000, max_coordinates=self.max_coordinates)

    @property
    def overhead_allowed(self) -> float:
        """Of all measurements together."""
        return self.overhead + (self.first_overhead if self.measures_first else 0.0)

    def estimator(
        self,
        data: TrainerData,
        domain_names: Sequence[str],
        budget: MeasuringBudget,
        needs: Needs,
        *,
        batch_size: int,
        seed: int,
    ) -> ImpactEstimator:
        """What measures.

        Args:
            data: The samples.
            domain_names: Of its domains.
            budget: Samples of a measurement.
            needs: Of the policy.
            batch_size: Samples of a pass: a training step's, whose memory is there.
            seed: Of the choice of samples.
        """
        of_domains, of_tasks = data.has_documents
        return ImpactEstimator(
            dataset=data.samples,
            members_by_domain=data.members,
            domain_names=domain_names,
            tasks=data.tasks,
            collate=data.collate,
            budget=budget,
            max_coordinates=self.max_coordinates,
            labels="data",
            within=cast(Within, self.within),
            seed=seed,
            robust_tasks=needs.robust_tasks,
            batch_size=1 if of_tasks else batch_size,
            domain_batch_size=1 if of_domains else batch_size,
        )

    def first_budget(self, data: TrainerData, run_samples: int) -> MeasuringBudget:
        """Of the measurement before training.

        Args:
            data: The samples.
            run_samples: Samples that the run trains on.
        """
        domain_samples, task_samples = _FIRST_SAMPLES
        return MeasuringBudget.within(
            domain_samples=domain_samples,
            task_samples=task_samples,
            validation_samples=self.validation_samples,
            num_domains=len(data.members),
            num_tasks=len(data.tasks),
            trained_samples=run_samples,
            max_share=self.first_overhead,
        )

    def round_budget(
        self,
        data: TrainerData,
        model: nn.Module,
        needs: Needs,
        *,
        run_tokens: float,
        num_rounds: int,
        mean_tokens: float,
        micro_batch: int,
    ) -> MeasuringBudget:
        """Of the measurements in rounds.

        Args:
            data: The samples.
            model: That is trained.
            needs: Of the policy.
            run_tokens: Tokens that the run trains on.
            num_rounds: Rounds of the run.
            mean_tokens: Of a sample that it draws.
            micro_batch: Samples that are padded to one length.
        """
        num_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        num_kept = num_trained if self.max_coordinates is None else self.max_coordinates
        return MeasuringBudget.for_overhead(
            self.overhead,
            least_measurements=needs.measurements,
            round_tokens=run_tokens / num_rounds,
            num_rounds=num_rounds,
            task_tokens=[float(task.lengths.mean()) for task in data.tasks.values()],
            domain_tokens=mean_tokens,
            task_samples=self.task_samples,
            validation_samples=self.validation_samples,
            num_domains=len(data.members),
            kept_share=min(1.0, num_kept / max(1, num_trained)),
            padding=1.0 if data.lengths is None else padding(data.lengths, micro_batch),
        )


def check_at_least(least: int, **numbers: object) -> None:
    """Refuse what is no whole number from here on.

    Raises:
        InputError: With the name that it was given by.
    """
    for name, number in numbers.items():
        if not isinstance(number, int | np.integer) or number < least:
            raise InputError(f"{name} must be a whole number from {least} on, got {number!r}.")
