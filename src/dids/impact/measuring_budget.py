"""What one measurement of impact may take."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class MeasuringBudget:
    """Samples that one measurement takes."""

    domain_samples: int
    task_samples: int
    validation_samples: int

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
