"""What the measurements say beyond doubt: which domains work against which tasks."""

from dids.report.numbers import impact_text
from dids.report.record import RunRecord

DOUBT = 1.645
"""Standard errors from zero to the end of a 90 % interval."""
_MOST = 8
"""Longer lists are not read; the heat map has the rest."""


def harms(run: RunRecord) -> list[str]:
    """Tasks that domains work against, the worst first, where the last measurement is sure of it.

    Args:
        run: The record.

    Returns:
        One sentence a task, at most eight.
    """
    if not run.impact:
        return []
    impact = run.impact[-1]
    by_task: dict[str, list[tuple[float, str, float]]] = {}
    for domain, row in impact.cosine.items():
        for task, value in row.items():
            error = impact.cosine_error.get(domain, {}).get(task)
            if value is not None and error is not None and value + DOUBT * error < 0.0:
                by_task.setdefault(task, []).append((value, domain, error))
    ranked = sorted(by_task.items(), key=lambda pair: min(pair[1]))
    return [_sentence(task, found) for task, found in ranked[:_MOST]]


def _sentence(task: str, found: list[tuple[float, str, float]]) -> str:
    named = [
        f"{domain} ({impact_text(value)} ± {impact_text(error)})"
        for value, domain, error in sorted(found)[:3]
    ]
    rest = len(found) - len(named)
    more = f" and {rest} more" if rest > 0 else ""
    return f"{task}: harmed by {', '.join(named)}{more}."
