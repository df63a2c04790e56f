"""What the measurements say: of a domain and task over all rounds, and beyond doubt at the end."""

import math
from dataclasses import dataclass

from dids.report.numbers import impact_text, impact_with_error
from dids.report.record import RunRecord

DOUBT = 1.645
"""Standard errors from zero to the end of a 90 % interval."""
_MOST = 8
"""Longer lists are not read; the heat map has the rest."""


@dataclass(frozen=True)
class Evidence:
    """The impact of one domain on one task, as it was measured over the run."""

    task: str
    last: float
    last_error: float | None
    # standard error
    mean: float
    num_measured: int
    num_above: int
    # above zero

    @property
    def sentence(self) -> str:
        """The numbers in words."""
        value = impact_with_error(self.last, self.last_error)
        last = f"Impact on {self.task}: {value} when last measured"
        if self.num_measured == 1:
            return f"{last}."
        return (
            f"{last}, {impact_text(self.mean)} on average, above zero in {self.num_above} of "
            f"{self.num_measured} measurements."
        )


def impact_evidence(run: RunRecord, domain: str, task: str) -> Evidence | None:
    """What was measured of a domain's impact on a task.

    Args:
        run: The record.
        domain: Its name.
        task: Its name.

    Returns:
        The numbers; None if it was never measured.
    """
    seen = [
        (value, impact.cosine_error.get(domain, {}).get(task))
        for impact in run.impact
        if (value := impact.cosine.get(domain, {}).get(task)) is not None and math.isfinite(value)
    ]
    if not seen:
        return None
    values = [value for value, _ in seen]
    return Evidence(
        task=task,
        last=values[-1],
        last_error=seen[-1][1],
        mean=sum(values) / len(values),
        num_measured=len(values),
        num_above=sum(value > 0.0 for value in values),
    )


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
        f"{domain} ({impact_with_error(value, error)})"
        for value, domain, error in sorted(found)[:3]
    ]
    rest = len(found) - len(named)
    more = f" and {rest} more" if rest > 0 else ""
    return f"{task}: harmed by {', '.join(named)}{more}."
