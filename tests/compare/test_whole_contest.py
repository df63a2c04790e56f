"""A whole contest: what it leaves, what may not join it, that a kill changes nothing."""

import json
import signal
import subprocess
import sys
import time

import pytest
import yaml
from conftest import TWO

from dids.atomic import read_json, write_json
from dids.run.folder import RunFolder


def essence(result: dict) -> dict:
    """A result without what depends on the clock or the place."""
    if isinstance(result, dict):
        left_out = ("cost", "shared_s", "config")
        return {key: essence(value) for key, value in result.items() if key not in left_out}
    return result


def test_every_run_is_an_ordinary_run_with_the_same_seed_and_budget(finished):
    for seed in (0, 1):
        for name in ("uniform", "dids"):
            run = finished.folder / f"seed-{seed}" / name
            record = read_json(run / "result.json")
            assert record["seed"] == seed
            assert record["budget_tokens"] == 4000
            assert record["config"]["mixture"]["policy"] == name
            assert record["control"] is None
            assert (run / "report.html").exists()


def test_what_runs_share_is_made_once_for_each_seed(finished):
    for seed in (0, 1):
        prepared, run = (finished.folder / f"seed-{seed}" / name for name in ("prepared", "dids"))
        for shared in ("proxy/model/model.safetensors", "domains/meta.json", "impact.json"):
            if (prepared / shared).exists():
                assert (run / shared).resolve() == (prepared / shared).resolve()
        marks = [(p / "stages" / "features.json").read_text() for p in (prepared, run)]
        assert marks[0] == marks[1]
        assert not (prepared / "stages" / "train.json").exists()
    assert not (finished.folder / "seed-0" / "uniform" / "tokens").exists()


def test_the_result_holds_what_the_documentation_says(finished):
    result = finished.result()
    assert result["form"] == 1
    assert result["seeds"] == [0, 1]
    assert sorted(result["ranking"]) == ["dids", "uniform"]
    dids = result["entrants"]["dids"]
    losses = {
        seed: read_json(finished.folder / f"seed-{seed}" / "dids" / "result.json")["tasks"]
        for seed in (0, 1)
    }
    assert dids["runs"]["1"]["test_losses"] == {
        task: value["test_loss"] for task, value in losses[1].items()
    }
    sums = [losses[seed]["sums"]["test_loss"] for seed in (0, 1)]
    assert dids["standing"]["tasks"]["sums"]["loss"]["mean"] == pytest.approx(sum(sums) / 2)
    assert dids["cost"]["trial_tokens"] == 0
    assert dids["cost"]["overhead"] > 0
    assert result["entrants"]["uniform"]["standing"]["tokens_to_baseline"] >= 4000
    assert result["shared_s"]["0"].keys() >= {"check", "features", "impact"}
    assert "<html" in (finished.folder / "compare.html").read_text(encoding="utf-8")


def test_a_finished_contest_is_not_run_again(finished, capfd):
    before = essence(finished.result())
    marks = [path.stat().st_mtime_ns for path in finished.folder.rglob("stages/*.json")]
    assert finished.call(*TWO) == 0
    assert [path.stat().st_mtime_ns for path in finished.folder.rglob("stages/*.json")] == marks
    assert essence(finished.result()) == before
    printed = capfd.readouterr().out
    assert "has the lowest mean test loss" in printed
    assert str(finished.folder / "compare.html") in printed


def test_a_contest_of_another_config_is_left_alone(finished, tiny, capsys):
    changed = yaml.safe_load(finished.config.read_text("utf-8"))
    changed["budget"]["tokens"] = 5000
    tiny.config.write_text(yaml.safe_dump(changed), encoding="utf-8")
    assert tiny.call("--policies", "uniform", "--out", finished.folder) == 2
    said = "this contest has another config: 'budget.tokens' is 4000 there and 5000 now"
    assert said in capsys.readouterr().err


def test_an_entrant_that_ran_with_other_settings_is_not_mixed_up(finished, capsys, tmp_path):
    path = tmp_path / "entrants.yaml"
    path.write_text("entrants: {dids: {settings: {ema: 0.9}}}", encoding="utf-8")
    assert finished.call("--policies", path, "--seeds", "0") == 2
    assert "'mixture.settings.ema' is None there and 0.9 now" in capsys.readouterr().err


def killed_when(contest, is_reached, *options) -> bool:
    """Start a contest in a process of its own and kill it at a place."""
    command = [sys.executable, "-m", "dids", "compare", str(contest.config), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if is_reached():
                process.send_signal(signal.SIGKILL)
                process.wait()
                return True
            time.sleep(0.005)
    return False


def test_a_contest_killed_in_mid_run_ends_as_if_left_alone(finished, tiny):
    train = tiny.folder / "seed-0" / "dids" / "train"

    def has_checkpoint() -> bool:
        return any(train.glob("checkpoint-*/dids_state.json"))

    assert killed_when(tiny, has_checkpoint, *TWO)
    # The run goes with the contest that started it, and lets its folder go.
    until_s = time.monotonic() + 60
    while RunFolder(train.parent).is_worked_on and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not RunFolder(train.parent).is_worked_on
    assert not (tiny.folder / "compare.json").exists()
    assert tiny.call(*TWO) == 0
    assert essence(tiny.result()) == essence(finished.result())


def test_ctrl_c_stops_all_runs_and_says_how_to_go_on(tiny):
    command = [sys.executable, "-m", "dids", "compare", str(tiny.config), *TWO]
    # A shell's background jobs ignore Ctrl-C, and so would whatever they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        lock = tiny.folder / "seed-0" / "prepared" / ".lock"
        while not (lock.exists() and lock.read_text()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert not RunFolder(lock.parent).is_worked_on


OWN = '''
from dids.mixture.policy import PolicyDecision


class Broken:
    """Fails where it is told to."""

    needs_impact = False
    searched = ({},)

    def __init__(self, at: str = "never", candidates: str = "") -> None:
        self.at = at
        self.candidates = candidates

    def mixture(self, observation):
        if self.at == "once":
            raise RuntimeError("the policy broke")
        mixture = observation.prior.copy()
        mixture[0] += 0.1
        return PolicyDecision(observation.limits.project(mixture / mixture.sum()))

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
'''


def with_entrants(contest, monkeypatch, text: str):
    """A folder of entrants and a policy in the current folder."""
    folder = contest.config.parent
    (folder / "own_rule.py").write_text(OWN, encoding="utf-8")
    (folder / "entrants.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    return ("--policies", "entrants.yaml", "--jobs", "2")


def test_a_policy_that_fails_is_reported_and_the_others_go_on(tiny, monkeypatch, capfd):
    options = with_entrants(
        tiny,
        monkeypatch,
        "entrants:\n"
        "  uniform:\n"
        "  fails: {policy: 'own_rule:Broken', settings: {at: once}}\n"
        "  best-fixed: {policy: 'own_rule:Broken'}\n"
        "  costly: {policy: dids, impact: {task_samples: 3}}\n",
    )
    assert tiny.call(*options, "--seeds", "3") == 1
    captured = capfd.readouterr()
    assert "fails, seed 3, failed: it ended with status 1: RuntimeError: the policy broke" in (
        captured.out.replace("\n", " ")
    )
    result = tiny.result()
    assert [failure["entrant"] for failure in result["failures"]] == ["fails"]
    assert sorted(result["ranking"]) == ["best-fixed", "costly", "uniform"]
    seed = tiny.folder / "seed-3"
    # Other fields of impact make the impact before training the run's own.
    assert (seed / "uniform" / "impact.json").is_symlink()
    assert not (seed / "costly" / "impact.json").is_symlink()
    # The others' mixtures are candidates; what was found is carried over sample by sample.
    candidates = json.loads((tiny.folder / "tuning" / "candidates.json").read_text("utf-8"))
    assert [sum(each.values()) for each in candidates] == pytest.approx([1.0, 1.0])
    found = read_json(seed / "best-fixed.json")
    ran = read_json(seed / "best-fixed" / "result.json")["mixture"]
    assert found == pytest.approx(ran[-1]["probability"])
    searched = result["entrants"]["best-fixed"]["searched"]
    assert searched[0]["tokens"] >= 4000
    assert searched[0]["settings"]["candidates"] == str(tiny.folder / "tuning" / "candidates.json")


def test_settings_are_searched_on_a_seed_of_its_own(tiny, monkeypatch, capfd):
    options = with_entrants(
        tiny,
        monkeypatch,
        "entrants:\n  tuned: {policy: 'tuned_rule:Tuned'}\n  set: {policy: 'tuned_rule:Tuned', "
        "settings: {share: 0.5}}\n",
    )
    source = OWN.replace("class Broken", "class Tuned").replace(
        "searched = ({},)", "searched = ({}, {'share': 0.9}, {'share': 0.1})"
    )
    source = source.replace('self, at: str = "never", candidates: str = ""', "self, share=0.3")
    source = source.replace("self.at = at", "self.share = share")
    source = source.replace("self.candidates = candidates", "self.at = ''")
    (tiny.config.parent / "tuned_rule.py").write_text(
        source.replace("0.1\n", "self.share\n"), "utf-8"
    )
    assert tiny.call(*options, "--seeds", "0", "--tune", "2") == 0
    result = tiny.result()
    assert result["tuning_seed"] not in result["seeds"]
    tried = result["entrants"]["tuned"]["searched"]
    assert [each["settings"] for each in tried] == [{}, {"share": 0.9}]
    lowest = min(tried, key=lambda each: each["relative_loss"])
    assert result["entrants"]["tuned"]["settings"] == lowest["settings"]
    run = read_json(tiny.folder / "seed-0" / "tuned" / "result.json")
    assert run["config"]["mixture"]["settings"] == lowest["settings"]
    assert result["entrants"]["set"]["searched"] == []
    assert result["entrants"]["set"]["settings"] == {"share": 0.5}
    trial = read_json(tiny.folder / "tuning" / "tuned-1" / "result.json")
    assert trial["seed"] == result["tuning_seed"]
    assert "searched: tuned:" in capfd.readouterr().out


def test_tokens_of_a_runs_own_trials_are_counted_apart(finished):
    run = finished.folder / "seed-0" / "dids"
    before = finished.result()["entrants"]["dids"]["cost"]
    trials = [
        {"name": "a", "tokens": 300, "elapsed_s": 1.5},
        {"name": "b", "tokens": 100, "elapsed_s": 1.0},
    ]
    result = read_json(run / "result.json")
    write_json(run / "result.json", {**result, "trials": trials})
    try:
        assert finished.call(*TWO) == 0
        cost = finished.result()["entrants"]["dids"]["cost"]
    finally:
        write_json(run / "result.json", result)
        assert finished.call(*TWO) == 0  # others look at this contest, too
    assert cost["trial_tokens"] == 200  # the mean over two seeds
    assert cost["trial_s"] == 1.25
    assert cost["tokens"] == before["tokens"]
