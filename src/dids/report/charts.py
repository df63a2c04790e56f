"""The numbers behind the charts, as JSON values; the page's script draws them."""

import math
from dataclasses import dataclass
from typing import Any

from dids.report.alarms import forgetting
from dids.report.groups import SourceGroup
from dids.report.palette import Colour
from dids.report.record import MapPoint, RunRecord

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
    areas = [
        {
            "name": part.name,
            "source": part.source,
            "light": part.colour.light,
            "dark": part.colour.dark,
            "shares": [
                sum(mixture.probability.get(domain, 0.0) for domain in part.domains)
                for mixture in run.mixture
            ],
        }
        for part in _parts(groups)
    ]
    return {
        "tokens": [mixture.tokens for mixture in run.mixture],
        "rounds": [mixture.round for mixture in run.mixture],
        "end": run.tokens,
        "is_by_source": _is_by_source(groups),
        "areas": _with_rest(areas),
    }


def loss_charts(run: RunRecord) -> list[dict[str, Any]]:
    """Validation losses over tokens, one small chart a task.

    Args:
        run: The record.

    Returns:
        For every task that has a history: its name, the run's points and the control's, and for a
        task that was forgotten the point of its lowest loss and by which fraction it rose.
    """
    control = {} if run.control is None else run.control.tasks
    charts = []
    for name, task in run.tasks.items():
        if not task.validation_history:
            continue
        other = control[name].validation_history if name in control else ()
        lost = forgetting(task.validation_history)
        charts.append(
            {
                "task": name,
                "run": _points(task.validation_history),
                "control": _points(other),
                "lowest": [lost.lowest_tokens, lost.lowest] if lost else None,
                "rise": lost.rise if lost else None,
            }
        )
    return charts


def map_chart(run: RunRecord, groups: list[SourceGroup]) -> dict[str, Any] | None:
    """The map of gradient features: the dots of every domain in its colour.

    Args:
        run: The record.
        groups: The domains by source.

    Returns:
        ``explained``, and ``dots`` with name, colours, coordinates and the samples' beginnings, the
        grey ones first, so that they lie below; None if no map was made.
    """
    if run.feature_map is None:
        return None
    points: dict[str, list[MapPoint]] = {}
    for point in run.feature_map.points:
        points.setdefault(point.domain, []).append(point)
    dots = []
    for part in sorted(_parts(groups), key=lambda part: part.is_emphasised):
        shown = [point for domain in part.domains for point in points.get(domain, ())]
        if shown:
            dots.append(
                {
                    "name": part.name,
                    "light": part.colour.light,
                    "dark": part.colour.dark,
                    "x": [point.x for point in shown],
                    "y": [point.y for point in shown],
                    "texts": [f"{point.domain}\n{point.text}" for point in shown],
                }
            )
    return {"explained": list(run.feature_map.explained), "dots": dots}


@dataclass(frozen=True)
class _Part:
    """What has one colour: a domain, or a source where there are too many domains."""

    name: str
    source: str
    domains: tuple[str, ...]
    colour: Colour
    is_emphasised: bool


def _is_by_source(groups: list[SourceGroup]) -> bool:
    return sum(len(group.domains) for group in groups) > MAX_AREAS


def _parts(groups: list[SourceGroup]) -> list[_Part]:
    if _is_by_source(groups):
        return [
            _Part(
                group.source,
                group.source,
                tuple(domain.name for domain in group.domains),
                group.colour,
                group.is_emphasised,
            )
            for group in groups
        ]
    return [
        _Part(domain.name, group.source, (domain.name,), domain.colour, group.is_emphasised)
        for group in groups
        for domain in group.domains
    ]


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
