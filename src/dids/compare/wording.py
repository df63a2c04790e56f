"""What the table and the page say of the standings: one wording for both."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dids.compare.contest import Finished
from dids.compare.entrants import BASELINE, BEST_FIXED
from dids.compare.paired import CONFIDENCE, Interval
from dids.compare.standings import Standing, whole
from dids.report.numbers import NARROW, count_text, loss_text, percent_text, plural
from dids.report.task_mean import are_weighted

QUALITY = ("mean loss", f"less {BASELINE}", "gap closed", "accuracy")
COST = (f"to {BASELINE}", "overhead", "extra tokens", "worst task", "below")


def quality_texts(row: Standing) -> list[str]:
    """What an entrant reaches, in the order of ``QUALITY``."""
    is_base = row.entrant == BASELINE
    return [
        loss_text(row.loss.mean) + (f" ± {loss_text(row.loss.sd)}" if row.loss.sd else ""),
        "" if is_base else interval_text(row.difference),
        "" if row.gap_closed is None or is_base else percent_text(row.gap_closed.mean, digits=0),
        "" if row.accuracy is None else percent_text(row.accuracy.mean),
    ]


def cost_texts(row: Standing, budget_tokens: int, tuning_tokens: int) -> list[str]:
    """What it takes, and at whose expense, in the order of ``COST``."""
    is_base = row.entrant == BASELINE
    reached = row.tokens_to_baseline
    return [
        "never" if reached is None else percent_text(reached / budget_tokens, digits=0),
        percent_text(row.overhead),
        extra_text(row, tuning_tokens),
        "" if is_base else f"{row.worst_task} {percent_text(row.worst_change, signed=True)}",
        "" if is_base else f"{row.num_below} of {len(row.tasks)}",
    ]


def extra_text(row: Standing, tuning_tokens: int) -> str:
    """Tokens of trials of a run's own, and of the search for settings."""
    parts = [
        count_text(row.trial_tokens) + " a run" if row.trial_tokens else "",
        count_text(tuning_tokens) + " once" if tuning_tokens else "",
    ]
    return " + ".join(part for part in parts if part) or "0"


def interval_text(interval: Interval) -> str:
    """A difference of losses with its interval.

    Example:
        >>> interval_text(Interval(-0.5, -0.75, -0.25)).replace("\N{MINUS SIGN}", "-")
        '-0.500 (-0.750 to -0.250)'
    """
    if interval.low is None or interval.high is None:
        return loss_text(interval.mean)
    ends = f"({loss_text(interval.low)} to {loss_text(interval.high)})"
    return f"{loss_text(interval.mean)} {ends}"


def headline(rows: Sequence[Standing]) -> str:
    """Who wins, and by how much.

    Args:
        rows: By mean loss, the lowest first, and behind them those that lack a seed, which are in
            no race: their mean is over other seeds.
    """
    entrants = [row for row in rows if row.entrant != BEST_FIXED]
    racing = [row for row in whole(rows) if row.entrant != BEST_FIXED]
    if len(racing) < 2:
        return f"{racing[0].entrant} " + (
            "ran alone" if len(entrants) < 2 else "alone finished all seeds"
        )
    first, second = racing[:2]
    gain = first.against[second.entrant].loss
    share = percent_text(-gain.mean / second.loss.mean)
    doubt = "" if gain.is_clear else ", which is within what seeds alone do"
    if gain.low is None:
        doubt = ", on one seed"
    return (
        f"{first.entrant} has the lowest mean test loss, {loss_text(first.loss.mean)}, "
        f"{share} below {second.entrant}{doubt}"
    )


def sentences(contest: Finished, rows: Sequence[Standing]) -> list[str]:
    """What else there is to say, the worst of it, too."""
    racing = [row for row in whole(rows) if row.entrant != BEST_FIXED]
    return [
        *_on_the_gap(rows, racing[0]),
        *_on_accuracy(racing),
        *_on_harm([row for row in rows if row.entrant != BEST_FIXED]),
        *_on_failures(contest, rows),
    ]


def _on_the_gap(rows: Sequence[Standing], first: Standing) -> Iterator[str]:
    if first.gap_closed is not None and first.entrant != BASELINE:
        yield (
            f"{first.entrant} closes {percent_interval(first.gap_closed)} of the gap between "
            f"{BASELINE} and the best fixed mixture that a search in hindsight found."
        )
    elif first.gap_closed is None and any(row.entrant == BEST_FIXED for row in rows):
        yield f"The best fixed mixture is no better than {BASELINE}: there is no gap."


def _on_accuracy(racing: Sequence[Standing]) -> Iterator[str]:
    known = [(row.accuracy.mean, row) for row in racing if row.accuracy is not None]
    if len(known) < 2:
        return
    (highest, best), (second, other) = sorted(known, key=lambda pair: -pair[0])[:2]
    if highest == second:
        return
    change = best.against[other.entrant].accuracy_change
    more = "" if change is None else f", a relative gain of {percent_interval(change, signed=True)}"
    yield (
        f"{best.entrant} has the highest mean accuracy, {percent_text(highest)}; the next, "
        f"{other.entrant}'s, is {percent_text(second)}{more}."
    )


def _on_harm(racing: Sequence[Standing]) -> Iterator[str]:
    for row in racing:
        if row.num_clearly_above:
            yield (
                f"{row.entrant} ends above {BASELINE} beyond doubt on "
                f"{plural(row.num_clearly_above, 'task')}; its worst is {row.worst_task} "
                f"({percent_text(row.worst_change, signed=True)})."
            )


def _on_failures(contest: Finished, rows: Sequence[Standing]) -> Iterator[str]:
    for row in rows:
        if len(row.seeds) < len(contest.seeds):
            yield f"{row.entrant} finished {len(row.seeds)} of {len(contest.seeds)} seeds."
    for failure in contest.failures:
        yield f"{failure.entrant}, seed {failure.seed}, failed: {failure.sentence}"


def percent_interval(fraction: Interval, *, signed: bool = False) -> str:
    """A fraction with its interval, in percent."""
    text = percent_text(fraction.mean, signed=signed)
    if fraction.low is None or fraction.high is None:
        return text
    low, high = (percent_text(end, signed=signed) for end in (fraction.low, fraction.high))
    return f"{text} ({low} to {high})"


def tuning_lines(contest: Finished) -> list[str]:
    """What was searched, and what was chosen, a line an entrant that had a choice."""
    lines = []
    for name, choice in contest.settings.items():
        if len(choice.tried) < 2:
            continue
        tried = "; ".join(
            f"{settings_text(each.settings)} "
            + ("failed" if each.relative_loss is None else f"{each.relative_loss:.4f}")
            for each in choice.tried
        )
        lines.append(f"{name}: {settings_text(choice.settings)} chosen of: {tried}")
    return lines


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in short.

    Example:
        >>> settings_text({"ema": 0.5}), settings_text({})
        ('ema 0.5', 'defaults')
    """
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "defaults"


def notes(contest: Finished) -> list[str]:
    """How to read the table."""
    seeds = plural(len(contest.seeds), "seed")
    budget = count_text(contest.config.budget.tokens)
    weights = {name: task.weight for name, task in contest.config.tasks.items()}
    weighted = ["Tasks count in every mean by their weights (tasks.*.weight)."]
    return [
        *(weighted if are_weighted(weights) else []),
        f"{seeds}, {budget}{NARROW}tokens a run; spread: standard deviation from seed to seed; "
        f"intervals: {percent_text(CONFIDENCE, digits=0)}, paired by seed.",
        f"to {BASELINE}: part of the budget until the validation loss is where {BASELINE}'s ends; "
        f"below: tasks whose mean loss is below {BASELINE}'s.",
    ]
