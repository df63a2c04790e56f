"""Why a domain has its share: the tasks that ask for it, the evidence, what repeats took.

Reads what policies explain (``tasks``, ``domains``, ``note``); a policy may leave any of it out.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dids.report.evidence import impact_evidence
from dids.report.numbers import count_text, impact_text, percent_text, plural
from dids.report.record import MixtureRound, RunRecord

SMALL_PART = 0.05
"""Tasks with less of what all ask for, for and against, are not worth a mention."""

NEGLIGIBLE = 0.005
"""Half a percent off a domain's value is not worth a sentence."""


@dataclass(frozen=True)
class Pull:
    """What one task asks of a domain, as a part of what all tasks ask, for and against it."""

    task: str
    part: float
    # from -1 to 1; negative: it is held back


@dataclass(frozen=True)
class Reasons:
    """What speaks for and against a domain at the end of a run."""

    pulls: tuple[Pull, ...]
    # the strongest first; empty if the policy does not say
    sentences: tuple[str, ...]
    # evidence, what the last decision wanted, what repeats took


def domain_reasons(run: RunRecord, domain: str) -> Reasons:
    """What speaks for and against a domain at the end of the run.

    Args:
        run: The record.
        domain: Its name.

    Returns:
        The reasons; empty if the policy measured nothing.
    """
    explained = _last_explanation(run, domain)
    numbers = {key: float(v) for key, v in explained.items() if isinstance(v, (int, float))}
    asked = explained.get("pull")
    pulls: tuple[Pull, ...] = ()
    if isinstance(asked, dict) and asked:
        pulls = _pulls(asked)
        sentences = _of_pulls(run, domain, pulls)
    else:
        sentences = _of_impact(run, domain)
    sentences = [*_of_limits(run, domain), *sentences]
    best = numbers.get("best")
    if best is not None:
        sentences.append(f"The last decision wanted {percent_text(best)}.")
    loss = numbers.get("loss")
    if loss is not None and "prior" in numbers:
        sentences.append(
            f"Its own loss in training, {loss:.2f} nats, makes its part of the prior "
            f"{percent_text(numbers['prior'])}: what is not learnt yet has more of it."
        )
    value = numbers.get("marginal_value")
    if value is not None and value < 1.0 - NEGLIGIBLE:
        sentences.append(
            f"Repeats have taken {percent_text(1.0 - value)} off what another sample is worth."
        )
    return Reasons(pulls, tuple(sentences))


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


def waiting_tasks(run: RunRecord) -> list[str]:
    """Tasks whose share went by the prior for a part of the run, since no domain comes near them.

    Args:
        run: The record.

    Returns:
        One sentence each, and one on the tasks that waited with them.
    """
    waiting = _by_round(run, "waiting")
    beyond = _by_round(run, "out_of_reach")
    told = [
        f"{task}: no domain comes near it, and what is learnt for such a task early is lost again, "
        f"so {percent_text(max(part_r))} of its share went by the prior at first"
        + _until(run, part_r)
        for task, part_r in waiting.items()
        if task in beyond
    ]
    others = {task: max(part_r) for task, part_r in waiting.items() if task not in beyond}
    if others:
        part = percent_text(max(others.values()))
        told.append(
            f"{', '.join(others)}: {part} of their shares went by the prior with them, since a "
            "model that learns of few domains loses such tasks, too."
        )
    return told


def _by_round(run: RunRecord, name: str) -> dict[str, list[float]]:
    """What decisions say under a name of each task of which one says more than next to nothing."""
    said: dict[str, list[float]] = {}
    for number, mixture in enumerate(run.mixture):
        for task, seen in mixture.explained("tasks").items():
            part = seen.get(name)
            if isinstance(part, (int, float)):
                said.setdefault(task, [0.0] * len(run.mixture))[number] = float(part)
    return {task: part_r for task, part_r in said.items() if max(part_r) >= NEGLIGIBLE}


def _until(run: RunRecord, part_r: list[float]) -> str:
    """The end of a sentence on a task that waits: from when on it does not."""
    after = 1 + max(number for number, part in enumerate(part_r) if part >= NEGLIGIBLE)
    if after == len(part_r):
        return "."
    return f", and none from {count_text(run.mixture[after].tokens)} tokens on."


def _pulls(asked: dict[str, Any]) -> tuple[Pull, ...]:
    """What every task asks for, as the last decision counted it: weighted, doubt taken off."""
    values = {task: float(v) for task, v in asked.items() if isinstance(v, (int, float))}
    size = sum(abs(value) for value in values.values())
    told = [
        Pull(task, v / size) for task, v in values.items() if size and abs(v) >= SMALL_PART * size
    ]
    return tuple(sorted(told, key=lambda pull: -abs(pull.part)))


def _of_pulls(run: RunRecord, domain: str, pulls: tuple[Pull, ...]) -> list[str]:
    """Evidence on the task that asks for it the most, and on the one most against it."""
    if not pulls:
        return [
            "No task is for it or against it beyond doubt: it gets its part of the prior"
            f"{_gives_way(run, domain)}."
        ]
    wanted = [pull.task for pull in pulls if pull.part > 0][:1]
    unwanted = [pull.task for pull in pulls if pull.part < 0][:1]
    found = [impact_evidence(run, domain, task) for task in wanted + unwanted]
    return [evidence.sentence for evidence in found if evidence is not None]


def _gives_way(run: RunRecord, domain: str) -> str:
    """The end of a sentence on a domain that nobody asks for: whether it lost anything by that."""
    first, last = run.mixture[0].probability, run.mixture[-1].probability
    if last.get(domain, 0.0) >= first.get(domain, 0.0):
        return ""
    is_held = any(limit != "floor" for limit in _held(run.mixture[-1]).values())
    return ", and gives way to what is asked for" + (" or pinned" if is_held else "")


def _of_limits(run: RunRecord, domain: str) -> list[str]:
    """What limit a domain's share is at, at the end, and since when."""
    limit = _held(run.mixture[-1]).get(domain) if run.mixture else None
    if limit is None:
        return []
    begins = run.mixture[-1]
    for mixture in reversed(run.mixture):
        if _held(mixture).get(domain) != limit:
            break
        begins = mixture
    since = f", since round {begins.round}" if begins.round > run.mixture[0].round else ""
    share = percent_text(run.mixture[-1].probability.get(domain, 0.0))
    told = {
        "pin": f"It is pinned to {share}{since}.",
        "floor": f"It is at its floor, {share}{since}: no decision may give it less.",
        "cap": f"It is at its cap, {share}{since}: no decision may give it more.",
    }
    return [told.get(limit, f"The limits of {limit} hold it{since}.")]


def _held(mixture: MixtureRound) -> Mapping[str, str]:
    """By domain the limit that its share was at when a mixture was decided."""
    held = mixture.explanation.get("held")
    return held if isinstance(held, dict) else {}


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
        explained = mixture.explained("domains")
        if domain in explained:
            return explained[domain]
    return {}
