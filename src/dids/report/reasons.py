"""Why a domain has its share: the task it helps, what the last decision wanted, what repeats took.

Reads what policies explain (``tasks``, ``domains``, ``note``); a policy may leave any of it out.
"""

import math
from collections import Counter
from typing import Any

from dids.report.numbers import impact_text, percent_text, plural
from dids.report.record import RunRecord

SMALL_PART = 0.05
"""Tasks with less of what all ask for, for and against, are not worth a mention."""

NEGLIGIBLE = 0.005
"""Half a percent off a domain's value is not worth a sentence."""


def domain_reasons(run: RunRecord, domain: str) -> list[str]:
    """What speaks for and against a domain at the end of the run.

    Args:
        run: The record.
        domain: Its name.

    Returns:
        Sentences; none if the policy measured nothing.
    """
    explained = _last_explanation(run, domain)
    numbers = {key: float(v) for key, v in explained.items() if isinstance(v, (int, float))}
    pull = explained.get("pull")
    reasons = _of_pull(pull) if isinstance(pull, dict) and pull else _of_impact(run, domain)
    best = numbers.get("best")
    if best is not None:
        reasons.append(
            f"The best mixture found in the last round gives it {percent_text(best)}, "
            "before it is averaged with the mixture before."
        )
    value = numbers.get("marginal_value")
    if value is not None and value < 1.0 - NEGLIGIBLE:
        reasons.append(
            f"Repeats have taken {percent_text(1.0 - value)} off what it can still give."
        )
    return reasons


def held_mixtures(run: RunRecord) -> list[str]:
    """Why the policy left the mixture as it was, where it did.

    Args:
        run: The record.

    Returns:
        One sentence a reason.
    """
    # The first mixture is given, not decided.
    notes = Counter(str(m.explanation["note"]) for m in run.mixture[1:] if "note" in m.explanation)
    rounds = max(len(run.mixture) - 1, 0)
    return [f"In {count} of {plural(rounds, 'decision')}: {note}." for note, count in notes.items()]


def _of_pull(pull: dict[str, Any]) -> list[str]:
    """What every task asks for, as the last decision counted it: weighted, doubt taken off."""
    values = {task: float(v) for task, v in pull.items() if isinstance(v, (int, float))}
    size = sum(abs(value) for value in values.values())
    if size == 0.0:
        return ["No task is for it or against it beyond doubt: it gets its part of the prior."]
    told = {task: v for task, v in values.items() if abs(v) >= SMALL_PART * size}
    wanted = sorted((task for task in told if told[task] > 0), key=lambda task: -told[task])
    unwanted = sorted((task for task in told if told[task] < 0), key=lambda task: told[task])
    sentences = []
    if wanted:
        sentences.append(f"Asked for by {_listed(wanted, values)}.")
    if unwanted:
        sentences.append(f"Held back by {_listed(unwanted, values)}.")
    return sentences


def _listed(tasks: list[str], values: dict[str, float]) -> str:
    return ", ".join(f"{task} ({impact_text(values[task])})" for task in tasks)


def _of_impact(run: RunRecord, domain: str) -> list[str]:
    measured = run.impact[-1].cosine.get(domain, {}) if run.impact else {}
    cosines = {task: v for task, v in measured.items() if v is not None and math.isfinite(v)}
    if not cosines:
        return []
    best = max(cosines, key=lambda task: cosines[task])
    worst = min(cosines, key=lambda task: cosines[task])
    if cosines[best] <= 0.0:
        return [f"It helps no task; its best impact is {impact_text(cosines[best])}, on {best}."]
    if cosines[worst] >= 0.0:
        return [f"It helps {best} the most, with an impact of {impact_text(cosines[best])}."]
    return [
        f"It helps {best} the most ({impact_text(cosines[best])}) "
        f"and works against {worst} ({impact_text(cosines[worst])})."
    ]


def _last_explanation(run: RunRecord, domain: str) -> dict[str, Any]:
    """What the last decision that explains its domains says of this one."""
    for mixture in reversed(run.mixture):
        explained: Any = mixture.explanation.get("domains")
        if isinstance(explained, dict) and isinstance(explained.get(domain), dict):
            return dict(explained[domain])
    return {}
