"""The run against its control, and against the model before training, task by task.

All models answer the same test items, so two standard errors of the difference, taken as if the
items were independent, is a cautious bound on noise.
"""

import math
from dataclasses import dataclass

from dids.report.record import RunRecord, TaskResult
from dids.report.task_mean import are_weighted, task_mean


@dataclass(frozen=True)
class TaskComparison:
    """One task: what the run does, what the control does, what the model did before training."""

    name: str
    run: TaskResult
    control: TaskResult | None
    base: TaskResult | None = None

    @property
    def change(self) -> float | None:
        """Test loss against the control's, as a fraction of the control's; negative is better."""
        return _change(self.run, self.control)

    @property
    def is_clear(self) -> bool:
        """Whether the difference is above two standard errors; True if none is known."""
        return _is_clear(self.run, self.control)

    @property
    def since_base(self) -> float | None:
        """Test loss against that before training, as a fraction of it; negative is better."""
        return _change(self.run, self.base)

    @property
    def is_clear_since_base(self) -> bool:
        """Whether that difference is above two standard errors; True if none is known."""
        return _is_clear(self.run, self.base)


@dataclass(frozen=True)
class MeanLoss:
    """Test loss averaged over the tasks that have one, by their weights."""

    run: float
    control: float | None
    num_tasks: int
    is_weighted: bool = False
    base: float | None = None

    @property
    def change(self) -> float | None:
        """Against the control, as a fraction; negative is better."""
        return None if not self.control else self.run / self.control - 1.0

    @property
    def since_base(self) -> float | None:
        """Against the model before training, as a fraction; negative is better."""
        return None if not self.base else self.run / self.base - 1.0


def task_comparisons(run: RunRecord) -> list[TaskComparison]:
    """Every task of the run beside the control's and the model's before training.

    Args:
        run: The record.

    Returns:
        One comparison a task, in the run's order.
    """
    control = {} if run.control is None else run.control.tasks
    return [
        TaskComparison(name, task, control.get(name), run.base.get(name))
        for name, task in run.tasks.items()
    ]


def mean_loss(comparisons: list[TaskComparison]) -> MeanLoss | None:
    """The mean test loss over the tasks that both models have one for.

    Args:
        comparisons: The tasks.

    Returns:
        The means, or None if no task has a test loss.
    """
    scored = [task for task in comparisons if task.run.test_loss is not None]
    both = [task for task in scored if task.change is not None]
    shown = both or scored
    if not shown:
        return None
    weights = {task.name: task.run.weight for task in shown}
    own = {task.name: task.run.test_loss or 0.0 for task in shown}
    other = {task.name: _loss(task.control) for task in both}
    before = {task.name: _loss(task.base) for task in shown if task.since_base is not None}
    return MeanLoss(
        run=task_mean(own, weights),
        control=task_mean(other, weights) if both else None,
        num_tasks=len(shown),
        is_weighted=are_weighted(weights),
        base=task_mean(before, weights) if len(before) == len(shown) else None,
    )


def _change(run: TaskResult, other: TaskResult | None) -> float | None:
    if other is None or not other.test_loss or run.test_loss is None:
        return None
    return run.test_loss / other.test_loss - 1.0


def _is_clear(run: TaskResult, other: TaskResult | None) -> bool:
    if other is None or run.test_loss is None or other.test_loss is None:
        return False
    error = math.hypot(run.test_loss_se or 0.0, other.test_loss_se or 0.0)
    return abs(run.test_loss - other.test_loss) > 2.0 * error


def _loss(result: TaskResult | None) -> float:
    if result is None or result.test_loss is None:
        raise ValueError("there is no loss.")
    return result.test_loss
