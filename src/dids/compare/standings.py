"""Who stands where: every entrant's losses beside the baseline's, seed by seed.

Axis letters: s seeds. All differences are paired: an entrant's run less another's with the same
seed, which has the same domains, model at its beginning, and order of samples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from dids.compare.curves import MeanCurve, mean_curve, tokens_to_reach
from dids.compare.outcome import Outcome
from dids.compare.paired import Interval, Spread, paired, paired_ratio
from dids.report.task_mean import task_mean

Outcomes = Mapping[str, Mapping[int, Outcome]]
"""By entrant and seed."""


@dataclass(frozen=True)
class TaskStanding:
    """An entrant on one task.

    Attributes:
        loss: Test loss, nats a scored token.
        difference: From the baseline's.
        change: The mean difference as a fraction of the baseline's mean loss.
    """

    loss: Spread
    difference: Interval
    change: float


@dataclass(frozen=True)
class Against:
    """An entrant beside another one.

    Attributes:
        loss: Difference of the mean test losses.
        accuracy: Difference of the mean accuracies; None without tasks with choices.
        accuracy_change: The same as a fraction of the other's mean accuracy.
    """

    loss: Interval
    accuracy: Interval | None
    accuracy_change: Interval | None


@dataclass(frozen=True)
class Standing:
    """An entrant's row.

    Attributes:
        entrant: Its name.
        seeds: That both it and the baseline finished.
        tasks: By name.
        loss: Test loss averaged over the tasks, by their weights, as is every mean here.
        difference: From the baseline's.
        gap_closed: ``(L_baseline - L) / (L_baseline - L_best)``: 1 is as good as the best fixed
            mixture in hindsight. None if that takes no part or is no better than the baseline.
        accuracy: Averaged over the tasks with choices; None without such.
        tokens_to_baseline: Tokens after which the mean validation loss is where the baseline's
            ends; None if it never is.
        overhead: Time for measuring and mixtures over the rest of the training's, mean.
        training_s: Seconds of a run's training, mean.
        trial_tokens: Tokens of the policy's own trials before a run, mean.
        trial_s: Seconds of these, mean.
        tokens: That a run trained on, trials left out, mean.
        worst_task: Whose loss is farthest above the baseline's, in parts of it.
        num_below: Tasks whose mean loss is below the baseline's.
        num_clearly_above: Tasks whose loss is above the baseline's with the interval clear of zero.
        against: By name, the other entrants.
        curve: Validation loss over tokens; None without one.
    """

    entrant: str
    seeds: tuple[int, ...]
    tasks: Mapping[str, TaskStanding]
    loss: Spread
    difference: Interval
    gap_closed: Interval | None
    accuracy: Spread | None
    tokens_to_baseline: float | None
    overhead: float
    training_s: float
    trial_tokens: float
    trial_s: float
    tokens: float
    worst_task: str
    num_below: int
    num_clearly_above: int
    against: Mapping[str, Against] = field(default_factory=dict)
    curve: MeanCurve | None = None

    @property
    def worst_change(self) -> float:
        """Of the worst task."""
        return self.tasks[self.worst_task].change


def standings(outcomes: Outcomes, *, baseline: str, best: str | None = None) -> list[Standing]:
    """The rows of all entrants that finished a run: the lowest mean loss first.

    Those that lack a seed come last: what they have is a mean over other seeds.

    Args:
        outcomes: By entrant and seed; runs that failed are missing.
        baseline: Whom all are compared with; it has outcomes.
        best: The best fixed mixture in hindsight, if it takes part.
    """
    rows = [
        _standing(name, outcomes, baseline, best)
        for name in outcomes
        if _common(outcomes, name, baseline)
    ]
    num_seeds = len(outcomes[baseline])
    return sorted(rows, key=lambda row: (len(row.seeds) < num_seeds, row.difference.mean))


def whole(rows: Sequence[Standing]) -> list[Standing]:
    """Of rows those that lack no seed that another has: they may be ranked by their means."""
    num_seeds = max(len(row.seeds) for row in rows)
    return [row for row in rows if len(row.seeds) == num_seeds]


def relative_loss(
    losses: Mapping[str, float], baseline: Mapping[str, float], weights: Mapping[str, float]
) -> float:
    """Losses over the baseline's, averaged over the tasks by their weights.

    Example:
        >>> relative_loss({"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 4.0}, {"a": 1.0, "b": 1.0})
        0.625
    """
    return task_mean({task: losses[task] / baseline[task] for task in baseline}, weights)


def _standing(name: str, outcomes: Outcomes, baseline: str, best: str | None) -> Standing:
    seeds = _common(outcomes, name, baseline)
    own, base = outcomes[name], outcomes[baseline]
    tasks = {task: _task(task, own, base, seeds) for task in base[seeds[0]].test_losses}
    curve, base_curve = _curve(own, seeds), _curve(base, seeds)
    mean_accuracies = [own[seed].mean_accuracy for seed in seeds]
    accuracies = [value for value in mean_accuracies if value is not None]
    end = base_curve.mean[-1] if base_curve is not None else None
    return Standing(
        entrant=name,
        seeds=seeds,
        tasks=tasks,
        loss=Spread.over(_losses(own, seeds)),
        difference=paired(_losses(own, seeds) - _losses(base, seeds)),
        gap_closed=_gap_closed(outcomes, name, baseline, best),
        accuracy=Spread.over(np.array(accuracies)) if accuracies else None,
        tokens_to_baseline=None if curve is None or end is None else tokens_to_reach(curve, end),
        overhead=_mean(own[seed].overhead for seed in seeds),
        training_s=_mean(own[seed].training_s for seed in seeds),
        trial_tokens=_mean(own[seed].trial_tokens for seed in seeds),
        trial_s=_mean(own[seed].trial_s for seed in seeds),
        tokens=_mean(own[seed].tokens for seed in seeds),
        worst_task=max(tasks, key=lambda task: tasks[task].change),
        num_below=sum(task.difference.mean < 0.0 for task in tasks.values()),
        num_clearly_above=sum(
            task.difference.mean > 0.0 and task.difference.is_clear for task in tasks.values()
        ),
        against={
            other: _against(outcomes, name, other)
            for other in outcomes
            if other != name and _common(outcomes, name, other)
        },
        curve=curve,
    )


def _task(
    task: str, own: Mapping[int, Outcome], base: Mapping[int, Outcome], seeds: tuple[int, ...]
) -> TaskStanding:
    loss_s = np.array([own[seed].test_losses[task] for seed in seeds])
    base_s = np.array([base[seed].test_losses[task] for seed in seeds])
    difference = paired(loss_s - base_s)
    return TaskStanding(Spread.over(loss_s), difference, difference.mean / float(base_s.mean()))


def _gap_closed(outcomes: Outcomes, name: str, baseline: str, best: str | None) -> Interval | None:
    if best is None or best not in outcomes:
        return None
    seeds = _common(outcomes, name, baseline, best)
    if not seeds:
        return None
    base_s = _losses(outcomes[baseline], seeds)
    own_s, best_s = _losses(outcomes[name], seeds), _losses(outcomes[best], seeds)
    return paired_ratio(base_s - own_s, base_s - best_s)


def _against(outcomes: Outcomes, name: str, other: str) -> Against:
    seeds = _common(outcomes, name, other)
    own, rival = outcomes[name], outcomes[other]
    loss = paired(_losses(own, seeds) - _losses(rival, seeds))
    pairs = [(own[seed].mean_accuracy, rival[seed].mean_accuracy) for seed in seeds]
    known = np.array([(a, b) for a, b in pairs if a is not None and b is not None])
    if not len(known):
        return Against(loss, None, None)
    difference_s = known[:, 0] - known[:, 1]
    return Against(loss, paired(difference_s), paired_ratio(difference_s, known[:, 1]))


def _common(outcomes: Outcomes, *names: str) -> tuple[int, ...]:
    """Seeds that all of these finished."""
    first, *others = names
    return tuple(sorted(set(outcomes[first]).intersection(*(outcomes[name] for name in others))))


def _losses(outcomes: Mapping[int, Outcome], seeds: tuple[int, ...]) -> Float[np.ndarray, " s"]:
    return np.array([outcomes[seed].mean_loss for seed in seeds])


def _curve(outcomes: Mapping[int, Outcome], seeds: Iterable[int]) -> MeanCurve | None:
    curves = [outcomes[seed].curve for seed in seeds]
    return mean_curve(curves) if all(curves) else None


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
