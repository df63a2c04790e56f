"""Domains that are split, merged or added while a run is stopped: it goes on and keeps the rest."""

import json
import shutil

import numpy as np
import pytest
from launched import killed_when
from test_bad_input import sentence
from test_whole_run import call, essence, result_of
from tiny_run import write_config, write_jsonl

from dids.domains.domains import Domains
from dids.sampling import MixtureLog
from dids.sampling.short_numbers import whole_numbers

LONGER = {"mixture": {"policy": "dids", "rounds": 8}, "budget": {"tokens": 8000}}


def state_of(folder):
    """The newest checkpoint's."""
    found = (folder / "run" / "train").glob("checkpoint-*/dids_state.json")
    newest = max(found, key=lambda path: int(path.parent.name.removeprefix("checkpoint-")))
    return json.loads(newest.read_text(encoding="utf-8"))


def stopped_run(folder):
    """A run that was killed in its third round or later; its config."""
    config = write_config(folder, **LONGER)

    def has_third_round(folder):
        train = folder / "run" / "train"
        return any(train.glob("checkpoint-*/dids_state.json")) and state_of(folder)["round"] >= 2

    assert killed_when(folder, config, has_third_round)
    write_jsonl(folder / "extra.jsonl", [{"text": f"moon star {i} comet"} for i in range(30)])
    return config


def mean_vote(state):
    return np.array(state["policy"]["votes"]["average_kt"])


def test_regrouped_run_keeps_what_it_learned_and_ends_the_same_however_it_is_stopped(
    tmp_path, monkeypatch
):
    config = stopped_run(tmp_path)
    run = tmp_path / "run"
    before, state = Domains.load(run / "domains"), state_of(tmp_path)
    halved = next(name for name in before.names if name.startswith("noise"))
    joined = [name for name in before.names if name.startswith("sums")][:2]
    joined = joined if len(joined) == 2 else [n for n in before.names if n != halved][:2]
    call(
        monkeypatch, "domains", run, "--split", f"{halved}=2",
        "--merge", f"joined={','.join(joined)}", "--add", f"extra={tmp_path / 'extra.jsonl'}",
    )  # fmt: skip
    after = Domains.load(run / "domains")
    assert set(before.names) - set(after.names) == {halved, *joined}
    assert set(after.names) - set(before.names) == {
        f"{halved}/0", f"{halved}/1", "joined", "extra",
    }  # fmt: skip
    shutil.copytree(run, tmp_path / "copy")
    call(monkeypatch, "run", config)
    alone = result_of(tmp_path)

    assert list(alone["domains"]) == after.names
    told = {tuple(change["from"]): change["into"] for change in alone["regroupings"][0]["changes"]}
    assert told == {
        (halved,): [f"{halved}/0", f"{halved}/1"],
        tuple(sorted(joined, key=before.names.index)): ["joined"],
        (): ["extra"],
    }
    assert alone["regroupings"][0]["step"] == state["step"]
    assert sum(d["tokens_drawn"] for d in alone["domains"].values()) == alone["tokens"]
    assert sum(d["samples_drawn"] for d in alone["domains"].values()) == alone["steps"] * 4
    assert alone["domains"]["extra"]["samples_drawn"] > 0
    assert alone["domains"]["extra"]["source_counts"] == {"extra": 30}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<code>extra</code> joined the run" in page
    steps = [entry["step"] for entry in alone["mixture"]]
    assert steps == sorted(steps)
    first = alone["mixture"][0]
    assert list(first["probability_then"]) == before.names
    assert first["probability"]["joined"] == pytest.approx(
        sum(first["probability_then"][name] for name in joined)
    )
    for entry in alone["mixture"]:
        assert list(entry["probability"]) == after.names
        assert sum(entry["probability"].values()) == pytest.approx(1.0)

    shutil.rmtree(run)
    shutil.copytree(tmp_path / "copy", run)

    def is_in_the_next_round(folder):
        now = state_of(folder)
        return now.get("grouping") == 1

    assert killed_when(tmp_path, config, is_in_the_next_round)
    call(monkeypatch, "run", config)
    assert essence(result_of(tmp_path)) == essence(alone)


def test_weights_averages_and_draws_go_where_the_samples_went(tmp_path, monkeypatch):
    from dids.training import regrouping

    config = stopped_run(tmp_path)
    run, state = tmp_path / "run", state_of(tmp_path)
    before = Domains.load(run / "domains")
    halved = before.names[-1]
    call(monkeypatch, "domains", run, "--split", f"{halved}=2")
    after = Domains.load(run / "domains")
    taken = {}
    original = regrouping.regrouped_state

    def watched(*arguments, **more):
        taken.update(original(*arguments, **more))
        raise KeyboardInterrupt

    monkeypatch.setattr("dids.training.resumed_state.regrouped_state", watched)
    monkeypatch.setattr("sys.argv", ["dids", "run", str(config)])
    from dids import cli

    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 130

    same = [after.names.index(name) for name in before.names[:-1]]
    old = list(range(len(before) - 1))
    parts = [after.names.index(f"{halved}/{part}") for part in (0, 1)]
    for name in ("draws", "tokens"):
        was, now = (whole_numbers(s["sampler"][name]) for s in (state, taken))
        np.testing.assert_allclose(now[same], was[old], atol=1e-12)
        assert now[parts].sum() == pytest.approx(was[-1])
    np.testing.assert_array_equal(mean_vote(taken)[same], mean_vote(state)[old])
    for part in parts:
        np.testing.assert_array_equal(mean_vote(taken)[part], mean_vote(state)[-1])
    kernel = [np.array(s["policy"]["impact"]["kernel_kt"]) for s in (state, taken)]
    np.testing.assert_array_equal(kernel[1][same], kernel[0][old])
    assert taken["policy"]["num_measurements"] == state["policy"]["num_measurements"]
    assert taken["history"]["task_losses"] == state["history"]["task_losses"]
    entry = next(e for e in taken["history"]["mixture"] if e["step"] == state["step"])
    share = np.array(entry["probability"][f"{halved}/0"])
    was = MixtureLog.from_json(state["sampler"]["log"]).mixture(state["step"])
    part = (after.domain_of_sample == parts[0]).sum() / (
        before.domain_of_sample == len(before) - 1
    ).sum()
    assert len(entry["probability"]) == len(before) + 1
    floor = 0.25 / len(after)
    expected = was[-1] * part
    if expected > floor and was[-1] - expected > floor:
        assert share == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "nois=2"], "--split: there is no domain 'nois'; the domains are"),
        (["--split", "noise=1"], "--split noise=1: the number of parts must be from 2 to"),
        (["--split", "noise=two"], "'two' is no number of parts"),
        (["--split", "noise"], "must have the form NAME=NUMBER"),
        (["--merge", "a=noise"], "name at least two domains"),
        (["--merge", "noise=sums,colours"], "two domains would be called 'noise'"),
        (["--add", "sums=extra.jsonl"], "has a source 'sums' already"),
        (["--add", "sums-test=extra.jsonl"], "the run calls files of the task 'sums' 'sums-test'"),
        (["--add", "moon=nowhere.jsonl"], "nowhere.jsonl"),
        (["--split", "noise=2"], "steering.yaml, line 2: 'mixture.domains.noise': no domain is"),
    ],
)
def test_a_change_that_cannot_be_made_is_one_sentence_and_changes_nothing(
    tmp_path, monkeypatch, capsys, arguments, words
):
    config = write_config(tmp_path, domains={"number": "sources"}, control=None)
    call(monkeypatch, "domains", config)
    run = tmp_path / "run"
    (run / "steering.yaml").write_text("mixture:\n  domains: {noise: {cap: 0.5}}\n")
    kept = {path: path.read_bytes() for path in (run / "domains").iterdir()}
    capsys.readouterr()
    assert words in sentence(capsys, monkeypatch, "domains", run, *arguments)
    assert {path: path.read_bytes() for path in (run / "domains").iterdir()} == kept
    assert not (run / "earlier_domains").exists()


def test_domains_of_a_trained_run_and_of_none_stay(tmp_path, monkeypatch, capsys):
    small = {"mixture": {"rounds": 2}, "domains": {"number": "sources"}, "control": None}
    config = write_config(tmp_path, **small)
    message = sentence(capsys, monkeypatch, "domains", config, "--split", "noise=2")
    assert "has no domains yet" in message
    call(monkeypatch, "domains", config)
    call(monkeypatch, "domains", config, "--split", "noise=2")  # before anything was trained
    call(monkeypatch, "run", config)
    result = result_of(tmp_path)
    assert sorted(result["domains"]) == ["colours", "noise/0", "noise/1", "sums"]
    assert result["regroupings"] == []
    capsys.readouterr()
    message = sentence(capsys, monkeypatch, "domains", config, "--split", "sums=2")
    assert "trained already" in message
