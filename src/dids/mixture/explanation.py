"""The reasons of a decision as plain JSON values, for the run folder and the report.

Axis letters: k domains, t tasks.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dids.mixture.observation import Observation
from dids.mixture.task_progress import TaskProgress, progress_of_tasks


def impact_explanation(
    observation: Observation,
    weight_t: np.ndarray,
    pull_kt: np.ndarray,
    columns: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """By task how it is doing, by domain one number of every column and what the tasks ask of it.

    Args:
        observation: With its impact.
        weight_t: Of the tasks.
        pull_kt: How far each task is pulled to each domain, before it is weighted.
        columns: What else is said of the domains.
    """
    impact = observation.impact
    assert impact is not None
    names = impact.task_names
    progress = progress_of_tasks(names, observation.task_losses, observation.horizon_tokens)
    domains = domain_explanation(impact.domain_names, columns)
    for domain, pull_t in zip(domains, pull_kt * weight_t, strict=True):
        domains[domain]["pull"] = dict(zip(names, pull_t.tolist(), strict=True))
    return {"tasks": task_explanation(names, weight_t, progress), "domains": domains}


def task_explanation(
    task_names: Sequence[str], weight_t: np.ndarray, progress: Sequence[TaskProgress]
) -> dict[str, dict[str, Any]]:
    """By task: its weight, improvement, potential and whether to believe it, and regain."""
    return {
        task: {
            "weight": float(weight),
            "improvement": seen.improvement,
            "potential": seen.potential,
            "potential_nats": seen.potential_nats.drop_nats,
            "is_reliable": seen.potential_nats.is_reliable,
            "regain": seen.regain,
        }
        for task, weight, seen in zip(task_names, weight_t, progress, strict=True)
    }


def domain_explanation(
    domain_names: Sequence[str], columns: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """By domain: one number of every column; None where there is none.

    Example:
        >>> domain_explanation(["web", "code"], {"loss": np.array([2.5, np.nan])})
        {'web': {'loss': 2.5}, 'code': {'loss': None}}
    """
    return {
        domain: {name: _number(column_k[index]) for name, column_k in columns.items()}
        for index, domain in enumerate(domain_names)
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None  # JSON has no other numbers
