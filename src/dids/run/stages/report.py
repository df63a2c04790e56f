"""Stage eleven: ``result.json``, and the page that explains it."""

from dataclasses import asdict
from typing import Any

from dids.atomic import read_json, write_json
from dids.data.tokenizer import tokenizer_hash
from dids.domains.feature_map import FeatureMap
from dids.report.page import write_report
from dids.report.record import RunRecord
from dids.run.alignment_account import read_account
from dids.run.stages.check import check_result
from dids.run.stages.domains import MAP_NAME
from dids.run.stages.evaluate import evaluation
from dids.run.stages.search import trial_accounts
from dids.run.steering import steering_log
from dids.run.workspace import Workspace
from dids.training.history import History
from dids.training.train import TrainedRun

_EXAMPLE_CHARACTERS = 400
_MAP_CHARACTERS = 90
_POOR_OVERHEAD = 0.5
_COUNTED_LATER = ("truncated", "bad_records")
"""Kinds of the check's findings that tokenising counts exactly: the run's own warnings say them."""


def run(work: Workspace) -> dict[str, Any]:
    """Write ``result.json`` and ``report.html``."""
    result = run_result(work)
    write_json(work.path("result.json"), result)
    write_report(work.path("report.html"), RunRecord.from_dict(result))
    return {}


def run_result(work: Workspace) -> dict[str, Any]:
    """Everything there is to know of a finished run, as plain JSON values."""
    tested = evaluation(work)
    history = TrainedRun.load(work.path("train")).history
    drawn = read_json(work.path("train") / "drawn.json")
    overhead = history.overhead or 0.0
    return {
        "dids": work.folder.versions()["dids"],
        "seed": work.config.seed,
        "tokens": drawn["tokens"],
        "steps": drawn["steps"],
        "budget_tokens": work.config.budget.tokens,
        "tasks": _with_history(tested["train"], history),
        "control": _control(work, tested),
        "base": tested.get("base"),
        "mixture": history.mixture,
        "impact": _initial_impact(work) + history.impact,
        "steering": steering_log(work).account(),
        "trials": trial_accounts(work),
        "regroupings": history.regroupings,
        "domains": _domains(work, drawn),
        "stability": _stability(work),
        "feature_map": _feature_map(work),
        "alignment": read_account(work.path("domains")),
        "overhead": overhead,
        "overhead_allowed": work.config.impact.overhead,
        "time_s": work.folder.times_s(),
        "warnings": _warnings(work, overhead, tested, drawn["tokens"]),
        "findings": _findings(work),
        "bad_records": _bad_records(work),
        "versions": work.folder.versions(),
        "config": work.config.model_dump(mode="json"),
        "content": work.folder.facts("check")["content"],
        "tokenizer_hash": tokenizer_hash(work.tokenizer),
    }


def _with_history(tested: dict[str, Any], history: History) -> dict[str, Any]:
    return {
        task: {**result, "validation_history": history.task_losses.get(task, [])}
        for task, result in tested.items()
    }


def _control(work: Workspace, tested: dict[str, Any]) -> dict[str, Any] | None:
    if "control" not in tested:
        return None
    drawn = read_json(work.path("control") / "drawn.json")
    history = TrainedRun.load(work.path("control")).history
    return {
        "policy": work.config.control,
        "tokens": drawn["tokens"],
        "steps": drawn["steps"],
        "tasks": _with_history(tested["control"], history),
    }


def _initial_impact(work: Workspace) -> list[dict[str, Any]]:
    measured = read_json(work.path("impact.json"))
    names = ("cosine", "cosine_error", "kernel", "distance")
    forms = {form: measured[form] for form in names if form in measured}
    return [{"round": 0, "step": 0, **forms}]


def _domains(work: Workspace, drawn: dict[str, Any]) -> dict[str, Any]:
    domains, data = work.domains, work.domain_data
    result = {}
    for k, name in enumerate(domains.names):
        members = data.members[k]
        counts = zip(work.sources, domains.source_counts_ks[k].tolist(), strict=True)
        result[name] = {
            "samples": len(members),
            "tokens": int(work.dataset.lengths[members].sum()),
            "source_counts": {source: count for source, count in counts if count > 0},
            "max_repeats": data.max_repeats[k],
            "examples": [
                _beginning(work, sample, _EXAMPLE_CHARACTERS)
                for sample in domains.central_samples[k]
            ],
            **drawn["domains"][name],
        }
    return result


def _stability(work: Workspace) -> dict[str, Any] | None:
    stability = work.domains.stability
    return None if stability is None else asdict(stability)


def _feature_map(work: Workspace) -> dict[str, Any] | None:
    path = work.path("domains") / MAP_NAME
    if not path.exists():
        return None
    found, domains = FeatureMap.load(path), work.domains
    domain_m = domains.domain_of_sample[found.samples_m]
    return {
        "explained": found.explained,
        "points": [
            {
                "domain": domains.names[domain],
                "place": place,
                "text": " ".join(_beginning(work, sample, _MAP_CHARACTERS).split()),
            }
            for sample, domain, place in zip(
                found.samples_m.tolist(), domain_m.tolist(), found.place_m2.tolist(), strict=True
            )
        ],
    }


def _beginning(work: Workspace, sample: int, characters: int) -> str:
    text = work.tokenizer.decode(work.dataset[sample]["input_ids"], skip_special_tokens=True)
    assert isinstance(text, str)
    return text[:characters] + ("…" if len(text) > characters else "")


def _warnings(work: Workspace, overhead: float, tested: dict[str, Any], tokens: int) -> list[str]:
    warnings = check_warnings(work)
    budget = work.config.budget.tokens
    if tokens < _MOST_OF_A_BUDGET * budget:
        warnings.append(
            f"The run ended after {tokens:,} of {budget:,} tokens: with max_repeats and at_end its "
            "domains could not fill another step."
        )
    unscored = [task for task in work.config.tasks if task not in work.scored_tasks]
    if unscored:
        warnings.append(
            f"{', '.join(unscored)}: no completions, so these tasks have no loss and steer nothing."
        )
    if overhead > _POOR_OVERHEAD:
        warnings.append(
            f"Measuring took {overhead:.0%} of training time; a longer run pays less for it, and "
            "impact.overhead with impact.min_measurements: 0 bounds it."
        )
    has_choices = any("accuracy" in result for result in tested["train"].values())
    if (
        has_choices
        and work.config.evaluation.lm_eval
        and not work.folder.facts("evaluate")["lm_eval"]
    ):
        warnings.append(
            "lm-eval is not installed (pip install 'dids[lm-eval]'), so its scores are missing."
        )
    for store in work.source_stores:
        if store.num_truncated > 0.05 * store.num_samples:
            share = store.num_truncated / store.num_samples
            warnings.append(
                f"{store.name}: {share:.0%} of the samples did not fit sequence_length and were "
                "cut."
            )
    for name, bad in _bad_records(work).items():
        said = "record was skipped; it is" if len(bad) == 1 else "records were skipped; they are"
        warnings.append(f"{name}: {len(bad):,} {said} listed below.")
    return warnings


_MOST_OF_A_BUDGET = 0.95


def check_warnings(work: Workspace) -> list[str]:
    """What the check found, but for what is counted exactly later on, and for notes."""
    return [
        warning["sentence"]
        for warning in check_result(work)["warnings"]
        if warning["severity"] != "note" and warning["kind"] not in _COUNTED_LATER
    ]


def _findings(work: Workspace) -> list[dict[str, Any]]:
    """What the check of the data found, and how far sources are like the tasks."""
    kept = ("severity", "kind", "sentence", "advice")
    found = [
        {key: finding[key] for key in kept}
        for finding in check_result(work)["warnings"]
        if finding["severity"] == "note" or finding["kind"] not in _COUNTED_LATER
    ]
    account = read_account(work.path("domains")) or {"tasks": {}}
    unlike = [
        {"severity": "note", "kind": "unlike", "sentence": task["sentence"], "advice": ""}
        for task in account["tasks"].values()
        if "sentence" in task
    ]
    return found + unlike


def _bad_records(work: Workspace) -> dict[str, Any]:
    stores = {store.name: store for store in work.source_stores}
    for task in work.config.tasks:
        for split in ("validation", "test"):
            stores[f"{task}-{split}"] = work.task_store(task, split)
    return {
        name: [vars(record) for record in store.bad_records]
        for name, store in stores.items()
        if store.bad_records
    }
