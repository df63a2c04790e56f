"""Means over tasks, in which each counts as much as the config's ``tasks.NAME.weight`` says."""

from collections.abc import Mapping


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Every task's part of a mean; equal where all weights are 0.

    Example:
        >>> shares({"a": 3.0, "b": 1.0, "c": 0.0})
        {'a': 0.75, 'b': 0.25, 'c': 0.0}
    """
    total = sum(weights.values())
    if total == 0.0:
        return dict.fromkeys(weights, 1.0 / len(weights))
    return {name: weight / total for name, weight in weights.items()}


def task_mean(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The weighted mean of some tasks' values; a task without a weight has 1.

    Example:
        >>> task_mean({"a": 2.0, "b": 4.0}, {"a": 3.0, "b": 1.0, "c": 1.0})
        2.5
    """
    share = shares({name: weights.get(name, 1.0) for name in values})
    return sum(share[name] * value for name, value in values.items())


def are_weighted(weights: Mapping[str, float]) -> bool:
    """Whether some of these tasks count more than others."""
    return len(set(weights.values())) > 1
