"""``compare.json``: everything there is to know of a contest, as plain values."""

from dataclasses import asdict
from typing import Any

from dids import __version__
from dids.compare.contest import Finished
from dids.compare.entrants import BASELINE, BEST_FIXED, Entrant
from dids.compare.outcome import Outcome
from dids.compare.standings import Standing, standings
from dids.compare.tuning import Tuned

FORM = 1
"""Raised if a key ever changes its meaning."""


def contest_standings(contest: Finished) -> list[Standing]:
    """The rows of the table."""
    return standings(contest.outcomes, baseline=BASELINE, best=BEST_FIXED)


def contest_result(contest: Finished, rows: list[Standing]) -> dict[str, Any]:
    """The content of ``compare.json``; whatever depends on the clock is below ``cost``."""
    by_name = {row.entrant: row for row in rows}
    return {
        "form": FORM,
        "dids": __version__,
        "baseline": BASELINE,
        "seeds": list(contest.seeds),
        "tuning_seed": contest.tuning_seed,
        "budget_tokens": contest.config.budget.tokens,
        "ranking": [row.entrant for row in rows],
        "entrants": {
            each.name: _entrant(each, contest, by_name.get(each.name)) for each in contest.entrants
        },
        "failures": [asdict(failure) for failure in contest.failures],
        "shared_s": {str(seed): dict(times) for seed, times in contest.prepared_s.items()},
        "config": contest.config.model_dump(mode="json"),
    }


def _entrant(entrant: Entrant, contest: Finished, row: Standing | None) -> dict[str, Any]:
    choice = contest.settings[entrant.name]
    outcomes = contest.outcomes.get(entrant.name, {})
    return {
        "policy": entrant.policy,
        "impact": dict(entrant.impact),
        "settings": dict(choice.settings),
        "searched": [asdict(tried) for tried in choice.tried],
        "standing": None if row is None else _standing(row),
        "cost": None if row is None else _cost(row, choice),
        "runs": {str(seed): _run(outcome) for seed, outcome in sorted(outcomes.items())},
    }


def _standing(row: Standing) -> dict[str, Any]:
    values = asdict(row)
    for key in ("entrant", "overhead", "training_s", "trial_tokens", "trial_s", "tokens"):
        del values[key]
    return {**values, "seeds": list(row.seeds), "worst_change": row.worst_change}


def _cost(row: Standing, choice: Tuned) -> dict[str, Any]:
    return {
        "tokens": row.tokens,
        "trial_tokens": row.trial_tokens,
        "tuning_tokens": choice.tokens,
        "training_s": row.training_s,
        "trial_s": row.trial_s,
        "overhead": row.overhead,
    }


def _run(outcome: Outcome) -> dict[str, Any]:
    values = asdict(outcome)
    cost = {key: values.pop(key) for key in ("training_s", "trial_s", "overhead")}
    return {**values, "curve": [list(point) for point in outcome.curve], "cost": cost}
