"""What came out of one run of a contest, read from its folder."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dids.errors import InputError
from dids.report.record import RunRecord, read_run_record
from dids.report.task_mean import task_mean


@dataclass(frozen=True)
class Outcome:
    """One run of one entrant.

    Attributes:
        test_losses: By task, nats a scored token; of the tasks that have a loss.
        accuracies: By task, of those with choices.
        weights: Of the tasks in every mean, by task; those without have 1.
        curve: Pairs of tokens and validation loss, averaged over the tasks.
        final_losses: Validation loss by task after the run.
        tokens: That it trained on.
        trial_tokens: That its policy's own trials trained on before.
        trial_s: Seconds that they took.
        training_s: Seconds of training, measuring included.
        overhead: Time for measuring and mixtures over the rest of the training's.
    """

    test_losses: Mapping[str, float]
    accuracies: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[tuple[float, float], ...] = ()
    final_losses: Mapping[str, float] = field(default_factory=dict)
    tokens: int = 0
    trial_tokens: int = 0
    trial_s: float = 0.0
    training_s: float = 0.0
    overhead: float = 0.0

    @property
    def mean_loss(self) -> float:
        """Test loss averaged over the tasks."""
        return task_mean(self.test_losses, self.weights)

    @property
    def mean_accuracy(self) -> float | None:
        """Accuracy averaged over the tasks with choices; None without such."""
        return task_mean(self.accuracies, self.weights) if self.accuracies else None


def read_outcome(folder: Path) -> Outcome:
    """The outcome of a finished run.

    Raises:
        InputError: If its ``result.json`` is missing, says something else, or has a test loss that
            is no number.
    """
    record = read_run_record(folder / "result.json")
    for task, result in record.tasks.items():
        if result.test_loss is not None and not math.isfinite(result.test_loss):
            raise InputError(f"{folder}: the test loss of {task} is {result.test_loss}.")
    histories = {
        task: result.validation_history
        for task, result in record.tasks.items()
        if result.validation_history
    }
    weights = {task: result.weight for task, result in record.tasks.items()}
    return Outcome(
        test_losses={
            task: result.test_loss
            for task, result in record.tasks.items()
            if result.test_loss is not None
        },
        accuracies={
            task: result.accuracy
            for task, result in record.tasks.items()
            if result.accuracy is not None
        },
        weights=weights,
        curve=_mean_curve(histories, weights),
        final_losses={task: history[-1][1] for task, history in histories.items()},
        tokens=record.tokens,
        trial_tokens=sum(trial.tokens for trial in record.trials),
        trial_s=sum(trial.elapsed_s for trial in record.trials),
        training_s=record.time_s.get("train", 0.0),
        overhead=record.overhead or 0.0,
    )


def mean_mixture(record: RunRecord) -> dict[str, float]:
    """The mixture of a run averaged over its steps, in the unit of its weights."""
    is_tokens = record.config.get("mixture", {}).get("unit") == "tokens"
    asked = {
        name: (domain.tokens_asked if is_tokens else domain.samples_asked) or 0.0
        for name, domain in record.domains.items()
    }
    total = sum(asked.values())
    return {name: value / total for name, value in asked.items()}


def _mean_curve(
    histories: Mapping[str, tuple[tuple[int, float], ...]], weights: Mapping[str, float]
) -> tuple[tuple[float, float], ...]:
    """Tasks are looked at together, so their points have the same tokens."""
    return tuple(
        (
            float(points[0][0]),
            task_mean(dict(zip(histories, (loss for _, loss in points), strict=True)), weights),
        )
        for points in zip(*histories.values(), strict=False)
    )
