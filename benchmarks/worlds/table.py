"""The tables, as markdown: one row a world, mean ± standard deviation over seeds."""

from collections.abc import Sequence

import numpy as np

from benchmarks.worlds.outcome import WorldRow

AIM = 0.05
"""How near to the best fixed mixture is near enough: of the gap, or of its loss."""


def gap_table(kind: str, rows: Sequence[WorldRow]) -> str:
    """Gap closed, in percent; worlds in which a policy meets the aim are bold."""
    labels = list(rows[0].outcomes)
    closed = [[[o.gap_closed for o in row.outcomes[label]] for label in labels] for row in rows]
    is_near = [[1.0 - float(np.mean(part)) <= AIM for part in parts] for parts in closed]
    lines = _head([kind, *labels, "beyond the floors"])
    for row, parts, are_near in zip(rows, closed, is_near, strict=True):
        cells = map(_percent, parts, are_near)
        lines.append(_line([row.name, *cells, f"{100 * np.mean(row.unlimited):.0f}"]))
    means = np.mean(closed, axis=(0, 2))
    lines.append(_line(["mean", *(f"{100 * mean:.0f}".replace("-", "−") for mean in means), ""]))
    lines.append(_line(["worlds within 5 %", *_how_many(is_near), ""]))
    return "\n".join(lines)


def loss_table(kind: str, rows: Sequence[WorldRow]) -> str:
    """How far mean losses are above the best fixed mixture's, in percent of it."""
    labels = list(rows[0].outcomes)
    above = [
        [*([o.above_best for o in row.outcomes[label]] for label in labels), row.uniform_above_best]
        for row in rows
    ]
    is_near = [[float(np.mean(part)) <= AIM for part in parts] for parts in above]
    lines = _head([kind, *labels, "uniform"])
    for row, parts, are_near in zip(rows, above, is_near, strict=True):
        lines.append(_line([row.name, *map(_percent, parts, are_near)]))
    lines.append(_line(["worlds within 5 %", *_how_many(is_near)]))
    return "\n".join(lines)


def worst_task_table(kind: str, rows: Sequence[WorldRow]) -> str:
    """Of the tasks the least fall below uniform's loss, in nats; negative: worse than uniform."""
    labels = list(rows[0].outcomes)
    lines = _head([kind, *labels, "best fixed mixture"])
    for row in rows:
        cells = [_nats([o.worst_gain for o in row.outcomes[label]]) for label in labels]
        lines.append(_line([row.name, *cells, _nats(row.best_worst_gain)]))
    return "\n".join(lines)


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|" + "---|" * len(cells)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _how_many(is_near: Sequence[Sequence[bool]]) -> list[str]:
    """Of the rows, for each column."""
    return [f"{sum(column)} of {len(column)}" for column in zip(*is_near, strict=True)]


def _percent(values: Sequence[float], is_near: bool) -> str:
    text = f"{100 * np.mean(values):.0f} ± {100 * np.std(values):.0f}".replace("-", "−")
    return f"**{text}**" if is_near else text


def _nats(values: Sequence[float]) -> str:
    return f"{np.mean(values):+.2f} ± {np.std(values):.2f}".replace("-", "−")
