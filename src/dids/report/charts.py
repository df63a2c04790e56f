"""The numbers behind the charts, as JSON values; the page's script draws them."""

import math
from typing import Any

from dids.report.groups import SourceGroup
from dids.report.record import RunRecord

MAX_AREAS = 48
# more areas than this are hairlines: then one area a source
MAX_SOURCES = 40


def mixture_chart(run: RunRecord, groups: list[SourceGroup]) -> dict[str, Any]:
    """The mixture over time: one area a domain, or one a source where there are too many domains.

    Args:
        run: The record.
        groups: The domains by source.

    Returns:
        ``tokens`` where each round begins, ``end``, and ``areas`` with name, source, colours,
        shares.
    """
    areas = []
    by_source = sum(len(group.domains) for group in groups) > MAX_AREAS
    for group in groups:
        members = (
            [(group.source, [domain.name for domain in group.domains], group.colour)]
            if by_source
            else [(domain.name, [domain.name], domain.colour) for domain in group.domains]
        )
        areas += [
            {
                "name": name,
                "source": group.source,
                "light": colour.light,
                "dark": colour.dark,
                "shares": [
                    sum(mixture.probability.get(domain, 0.0) for domain in domains)
                    for mixture in run.mixture
                ],
            }
            for name, domains, colour in members
        ]
    return {
        "tokens": [mixture.tokens for mixture in run.mixture],
        "rounds": [mixture.round for mixture in run.mixture],
        "end": run.tokens,
        "is_by_source": by_source,
        "areas": _with_rest(areas),
    }


def loss_charts(run: RunRecord) -> list[dict[str, Any]]:
    """Validation losses over tokens, one small chart a task.

    Args:
        run: The record.

    Returns:
        For every task that has a history: its name, the run's points and the control's.
    """
    control = {} if run.control is None else run.control.tasks
    charts = []
    for name, task in run.tasks.items():
        if not task.validation_history:
            continue
        other = control[name].validation_history if name in control else ()
        charts.append(
            {"task": name, "run": _points(task.validation_history), "control": _points(other)}
        )
    return charts


def _points(history: tuple[tuple[int, float], ...]) -> list[list[float | None]]:
    return [[tokens, loss if math.isfinite(loss) else None] for tokens, loss in history]


def _with_rest(areas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The areas, those beyond the limit summed into one."""
    limit = max(MAX_SOURCES, MAX_AREAS)
    if len(areas) <= limit:
        return areas
    kept, rest = areas[: MAX_SOURCES - 1], areas[MAX_SOURCES - 1 :]
    shares = [sum(column) for column in zip(*(area["shares"] for area in rest), strict=True)]
    name = f"{len(rest)} other sources"
    return [*kept, {**rest[0], "name": name, "source": name, "shares": shares}]
