"""A learning rate that follows the tokens trained on, because a run's number of steps is not known.

Domains differ in length, so a run of a fixed token budget takes more steps when the mixture turns
to short samples. The Trainer's own schedules are functions of a step; they are read at ``nominal
steps × tokens drawn / budget``.
"""

from collections.abc import Callable

from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from dids.errors import InputError


def follow_tokens(
    scheduler: LRScheduler, progress: Callable[[int], float], nominal_steps: int
) -> LRScheduler:
    """Make a ``LambdaLR`` read its factors by progress instead of by step.

    Args:
        scheduler: Any of the schedules of ``transformers`` that is a function of the step.
        progress: Fraction of the budget used up when a step (counted from 0) begins.
        nominal_steps: The number of steps that the schedule was made for.

    Raises:
        InputError: If the schedule looks at anything but the step.
    """
    if not isinstance(scheduler, LambdaLR):
        raise InputError(
            f"training.lr_scheduler_type: {type(scheduler).__name__} is no function of the step; "
            "use linear, "
            "cosine or constant_with_warmup."
        )

    def by_progress(factor: Callable[[int], float]) -> Callable[[int], float]:
        # Rounded, because the schedules of transformers take whole steps.
        return lambda step: factor(round(min(1.0, progress(step)) * nominal_steps))

    scheduler.lr_lambdas = [by_progress(factor) for factor in scheduler.lr_lambdas]
    return scheduler
