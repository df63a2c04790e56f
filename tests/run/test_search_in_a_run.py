"""A policy that makes trials of its own before the run, and goes on after a stop between them."""

import json

import numpy as np
import pytest
from tiny_run import write_config

from dids.atomic import read_json
from dids.config import load_config
from dids.errors import InputError
from dids.mixture.policy import make_policy
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages
from dids.run.stages.search import searched_policy
from dids.run.trials import RunTrials

SEARCHING = {"policy": "searching:Searching", "rounds": 4}


def finished(folder, last="train"):
    config = load_config(write_config(folder, mixture=SEARCHING, control=None))
    return run_stages(config, RunFolder(folder / "run"), ConsoleProgress(), last=last)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("search"))


def test_the_run_trains_on_what_its_trials_found(work):
    search = read_json(work.path("search.json"))
    assert [trial["name"] for trial in search["trials"]] == ["reference", "excess"]
    found = search["policy"]
    assert found["domains"] == work.domains.names
    np.testing.assert_allclose(sum(found["mixture"]), 1.0)
    assert np.ptp(found["mixture"]) > 0.03  # or it would be the reference's, which is uniform
    history = read_json(work.path("train") / "history.json")
    for entry in history["mixture"]:
        np.testing.assert_allclose(list(entry["probability"].values()), found["mixture"], atol=1e-9)
    assert searched_policy(work).state_dict() == found


def test_a_policy_is_told_what_training_takes(work):
    num_parameters = work.saved_model("train").num_parameters()
    history = read_json(work.path("train") / "history.json")
    told = {entry["explanation"]["training_flops"] for entry in history["mixture"]}
    assert told == {6.0 * num_parameters * 4000}


def test_trials_have_the_budget_that_was_asked_for_and_leave_an_account(work):
    reference, excess = read_json(work.path("search.json"))["trials"]
    assert 2000 <= reference["tokens"] < 2200
    assert 1000 <= excess["tokens"] < 1200
    assert reference["asked"]["model"] == "proxy"
    assert set(reference["mixture"].values()) == {1 / len(work.domains.names)}
    assert reference["elapsed_s"] > 0
    facts = work.folder.facts("search")
    assert facts["tokens"] == reference["tokens"] + excess["tokens"]
    assert not list(work.path("search").glob("*/checkpoint-*"))


def test_the_report_tells_of_the_trials(tmp_path):
    done = finished(tmp_path, last="report")
    trials = read_json(done.path("result.json"))["trials"]
    assert [trial["name"] for trial in trials] == ["reference", "excess"]
    page = done.path("report.html").read_text(encoding="utf-8")
    assert "before it, 2 trials trained on" in page


def test_a_trial_that_was_made_is_not_made_again(tmp_path, work, monkeypatch):
    before = finished(tmp_path, last="impact")
    trials, made = RunTrials(before), []

    def stopped(self, name, *args, run=RunTrials.run, **kwargs):
        if name == "excess" and not made:
            made.append(name)
            raise KeyboardInterrupt
        return run(self, name, *args, **kwargs)

    monkeypatch.setattr(RunTrials, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        finished(tmp_path)
    mark = tmp_path / "run" / "search" / "reference" / "trial.json"
    written = mark.stat().st_mtime_ns
    again = finished(tmp_path)
    assert mark.stat().st_mtime_ns == written
    assert (
        read_json(again.path("search.json"))["policy"]
        == (read_json(work.path("search.json"))["policy"])
    )
    with pytest.raises(InputError, match="this trial was made with"):
        trials.run("reference", make_policy("uniform"), budget=0.25)


def test_a_policy_without_trials_leaves_no_search(tmp_path):
    config = load_config(write_config(tmp_path, control=None))
    done = run_stages(config, RunFolder(tmp_path / "run"), ConsoleProgress(), last="search")
    facts = done.folder.facts("search")
    assert facts["searched"] is False
    assert set(facts) == {"searched", "elapsed_s", "order"}
    assert not done.path("search.json").exists()
    json.dumps(facts)
