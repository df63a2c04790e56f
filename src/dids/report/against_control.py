"""The run against its control, task by task.

Both models answer the same test items, so two standard errors of the difference, taken as if the
items were independent, is a cautious bound on noise.
"""

import math
from dataclasses import dataclass

from dids.report.record import RunRecord, TaskResult
from dids.report.task_mean import are_weighted, task_mean


@dataclass(frozen=True)
class TaskComparison:
    """One task: what the run does, what the control does."""

    name: str
    run: TaskResult
    control: TaskResult | None

    @property
    def change(self) -> float | None:
        """Test loss against the control's, as a fraction of the control's; negative is better."""
        if self.control is None or not self.control.test_loss or self.run.test_loss is None:
            return None
        return self.run.test_loss / self.control.test_loss - 1.0

    @property
    def is_clear(self) -> bool:
        """Whether the difference is above two standard errors; True if none is known."""
        if self.control is None or self.run.test_loss is None or self.control.test_loss is None:
            return False
        error = math.hypot(self.run.test_loss_se or 0.0, self.control.test_loss_se or 0.0)
        return abs(self.run.test_loss - self.control.test_loss) > 2.0 * error


@dataclass(frozen=True)
class MeanLoss:
    """Test loss averaged over the tasks that have one, by their weights."""

    run: float
    control: float | None
    num_tasks: int
    is_weighted: bool = False

    @property
    def change(self) -> float | None:
        """Against the control, as a fraction; negative is better."""
        return None if not self.control else self.run / self.control - 1.0


def task_comparisons(run: RunRecord) -> list[TaskComparison]:
    """Every task of the run beside the control's.

    Args:
        run: The record.

    Returns:
        One comparison a task, in the run's order.
    """
    control = {} if run.control is None else run.control.tasks
    return [TaskComparison(name, task, control.get(name)) for name, task in run.tasks.items()]


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
    other = {task.name: _control_loss(task) for task in both}
    return MeanLoss(
        run=task_mean(own, weights),
        control=task_mean(other, weights) if both else None,
        num_tasks=len(shown),
        is_weighted=are_weighted(weights),
    )


def _control_loss(task: TaskComparison) -> float:
    if task.control is None or task.control.test_loss is None:
        raise ValueError(f"{task.name} has no control loss.")
    return task.control.test_loss
