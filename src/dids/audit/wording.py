"""What an audit says, in sentences.

Axis letters: k domains, t tasks.
"""

from dataclasses import dataclass

import numpy as np

from dids.audit.audit import METRICS, Audit
from dids.impact.blockwise_products import Within
from dids.report.numbers import MINUS, plural

_CLEAR_CEILING = 0.3
"""Where two measurements agree by less, nothing can be said of an estimate."""
_MOST_SLIPS = 3
_T_95 = 2.0


@dataclass(frozen=True)
class Slip:
    """A task's best domain that impact ranks low.

    Attributes:
        task: Of the loss.
        domain: That lowers it the most, in both repeats among the first three.
        rank: By impact, from 1.
    """

    task: str
    domain: str
    rank: int


def sentences(audit: Audit) -> list[str]:
    """What came out, what to change, and where impact is farthest off."""
    num = len(audit.domain_names)
    off = [
        f"{slip.task}: training says that {slip.domain} helps the most, impact ranks it "
        f"{slip.rank} of {num}."
        for slip in slips(audit)
    ]
    return [_headline(audit), *_advice(audit), *off]


def _headline(audit: Audit) -> str:
    found, most = audit.agreement(audit.metric).rho, audit.ceiling.rho
    settings, num = audit.settings, len(audit.domain_names)
    where = "alone" if settings.num_own == settings.batch_size else "beside all"
    return (
        f"After {plural(settings.steps, 'step')} on each of {num} domains {where}, impact "
        f"(metric {audit.metric}) has ordered them as training does with ρ = {found:.2f}; two "
        f"measurements of what training does agree with {most:.2f}."
    )


def _advice(audit: Audit) -> list[str]:
    if audit.ceiling.rho < _CLEAR_CEILING:
        return [
            "Two measurements hardly agree, so this says little of impact: give more --items, more "
            "--steps, or a larger --batch-size."
        ]
    others = [metric for metric in audit.kernel_kt if metric != audit.metric]
    return [_compared(audit, metric) for metric in others]


def _compared(audit: Audit, other: Within) -> str:
    """Whether another metric orders domains better than the run's own does."""
    difference_t = np.array(
        [
            audit.of_task(task).agreement(other).rho
            - audit.of_task(task).agreement(audit.metric).rho
            for task in audit.task_names
        ]
    )
    mean, number = float(difference_t.mean()), len(difference_t)
    reached = f"impact.metric: {other} has ρ = {audit.agreement(other).rho:.2f}"
    if number < 2 or abs(mean) <= _T_95 * float(difference_t.std(ddof=1)) / np.sqrt(number):
        return f"{reached}, which is no clear difference over {plural(number, 'task')}."
    return f"{reached}, which is clearly {'better' if mean > 0 else 'worse'}."


def slips(audit: Audit) -> list[Slip]:
    """Plainly best domains of a task that impact ranks in the lower half, the lowest first."""
    num = len(audit.domain_names)
    found: list[Slip] = []
    for column, task in enumerate(audit.task_names):
        drop_rk = audit.drop_rkt[:, :, column]
        best = int(drop_rk.mean(axis=0).argmax())
        is_plain = all(_rank(drop_k, best) <= min(3, num // 2) for drop_k in drop_rk)
        rank = _rank(audit.kernel_kt[audit.metric][:, column], best)
        if is_plain and rank > num / 2:
            found.append(Slip(task, audit.domain_names[best], rank))
    return sorted(found, key=lambda slip: -slip.rank)[:_MOST_SLIPS]


def best_domains(audit: Audit) -> list[tuple[str, int]]:
    """Of each task the domain that lowers its loss the most, and its rank by impact."""
    best_t = audit.drop_rkt.mean(axis=0).argmax(axis=0)
    kernel_kt = audit.kernel_kt[audit.metric]
    return [
        (audit.domain_names[best], _rank(kernel_kt[:, column], int(best)))
        for column, best in enumerate(best_t)
    ]


def _rank(score_k: np.ndarray, domain: int) -> int:
    """Place of a domain by its score, the highest having 1."""
    return 1 + int((score_k > score_k[domain]).sum())


TITLES = (*(f"ρ, {metric}" for metric in METRICS), "ceiling", "best by training", "its rank")


def table_rows(audit: Audit) -> dict[str, list[str]]:
    """What stands in the table, by task, and of all of them."""
    rows = {}
    for task, (domain, rank) in zip(audit.task_names, best_domains(audit), strict=True):
        part = audit.of_task(task)
        rows[task] = [*_rhos(part), domain, str(rank)]
    rows["all"] = [*_rhos(audit), "", ""]
    return rows


def _rhos(audit: Audit) -> list[str]:
    """Of every metric, and the ceiling."""
    values = [*(audit.agreement(metric).rho for metric in METRICS), audit.ceiling.rho]
    return [f"{value:.2f}".replace("-", MINUS) for value in values]
