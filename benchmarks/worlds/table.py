"""The tables, as markdown: one row a world, mean ± standard deviation over seeds."""

from collections.abc import Sequence

import numpy as np

from benchmarks.worlds.outcome import WorldRow

AIM = 0.95


def gap_table(kind: str, rows: Sequence[WorldRow]) -> str:
    """Gap closed, in percent; worlds in which a policy meets the aim are bold."""
    labels = list(rows[0].outcomes)
    lines = _head([kind, *labels, "beyond the floors"])
    for row in rows:
        cells = [_percent([o.gap_closed for o in row.outcomes[label]]) for label in labels]
        lines.append(_line([row.name, *cells, f"{100 * np.mean(row.unlimited):.0f}"]))
    means = [
        np.mean([[o.gap_closed for o in row.outcomes[label]] for row in rows]) for label in labels
    ]
    met = [
        sum(np.mean([o.gap_closed for o in row.outcomes[label]]) >= AIM for row in rows)
        for label in labels
    ]
    lines.append(_line(["mean", *(f"{100 * mean:.0f}".replace("-", "−") for mean in means), ""]))
    lines.append(_line(["worlds within 5 %", *(f"{n} of {len(rows)}" for n in met), ""]))
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


def _percent(values: Sequence[float]) -> str:
    text = f"{100 * np.mean(values):.0f} ± {100 * np.std(values):.0f}".replace("-", "−")
    return f"**{text}**" if np.mean(values) >= AIM else text


def _nats(values: Sequence[float]) -> str:
    return f"{np.mean(values):+.2f} ± {np.std(values):.2f}".replace("-", "−")
