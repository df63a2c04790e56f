"""What happens to files and clocks while a run is stopped or under way; the result is the same."""

import itertools
import json
import logging
import os
import sys
import time

import pytest
import yaml
from test_bad_input import sentence
from test_whole_run import call, essence, result_of
from tiny_run import tiny_config, write_config

from dids import __version__, cli
from dids.atomic import read_json, whole_folder, write_json
from dids.config import load_config
from dids.run.folder import RunFolder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    config = write_config(folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        call(monkeypatch, "run", config)
    return essence(result_of(folder))


def damage(path, how):
    octets = bytearray(path.read_bytes())
    if how == "remove":
        path.unlink()
    elif how == "truncate":
        path.write_bytes(octets[:-7])
    else:
        octets[-3] ^= 1
        path.write_bytes(octets)


def run_after_damage(monkeypatch, caplog, config, damaged, how, also=()):
    """What a run warns of that goes on after damage; it has made the same files again."""
    before = {path: path.read_bytes() for path in (*damaged, *also)}
    for path in damaged:
        damage(path, how)
    with caplog.at_level(logging.WARNING, "dids"):
        call(monkeypatch, "run", config)
    assert {path: path.read_bytes() for path in before} == before
    return caplog.text


@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
def test_damaged_tokens_and_features_are_named_and_rebuilt(
    tmp_path, monkeypatch, undisturbed, caplog, how
):
    config = write_config(tmp_path)
    call(monkeypatch, "features", config)
    run = tmp_path / "run"
    (tokens,) = run.glob("tokens/sums-????????????????/tokens.npy")
    (scored,) = run.glob("tokens/colours-test-*/scored.npy")
    shard = run / "features" / "part-00000.npy"
    warned = run_after_damage(monkeypatch, caplog, config, (tokens, scored, shard), how)
    for name in (tokens.parent.name, scored.parent.name, shard.name):
        assert name in warned
    assert essence(result_of(tmp_path)) == undisturbed


def test_tokens_that_are_gone_altogether_are_made_again(tmp_path, monkeypatch, undisturbed, caplog):
    config = write_config(tmp_path)
    call(monkeypatch, "impact", config)
    (store,) = (tmp_path / "run").glob("tokens/noise-*")
    for path in store.iterdir():
        path.unlink()
    store.rmdir()
    with caplog.at_level(logging.WARNING, "dids"):
        call(monkeypatch, "run", config)
    assert f"{store} is missing" in caplog.text
    assert essence(result_of(tmp_path)) == undisturbed


@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
def test_what_stages_have_left_is_named_and_made_again(
    tmp_path, monkeypatch, undisturbed, caplog, how
):
    config = write_config(tmp_path)
    call(monkeypatch, "train", config)
    run = tmp_path / "run"
    domains = run / "domains" / "domain_of_sample.npy"
    others = [
        run / "tokenizer" / "tokenizer.json",
        run / "proxy" / "model" / "model.safetensors",
        run / "impact.json",
        run / "train" / "model" / "model.safetensors",
    ]
    moments = run / "proxy" / "second_moments.safetensors"  # of a stage done again all is the same
    warned = run_after_damage(monkeypatch, caplog, config, (*others, domains), how, (moments,))
    for path in (*others, domains.parent):
        assert str(path) in warned
    assert essence(result_of(tmp_path)) == undisturbed


@pytest.mark.parametrize("name", ["domains.json", "centroids.npy"])
def test_damaged_domains_that_a_command_has_regrouped_are_named(
    tmp_path, capsys, monkeypatch, name
):
    config = write_config(tmp_path)
    call(monkeypatch, "impact", config)
    call(monkeypatch, "domains", config, "--split", "noise=2")
    damage(tmp_path / "run" / "domains" / name, "flip")
    said = sentence(capsys, monkeypatch, "run", config)
    assert f"{tmp_path / 'run' / 'domains'} cannot be read" in said
    assert name.split(".")[0] in said


@pytest.mark.parametrize(
    "damages",
    [
        {-1: ("model.safetensors", "flip")},
        {-1: ("optimizer.pt", "truncate")},
        {-1: ("dids_state.json", "flip"), -2: ("trainer_state.json", "remove")},  # all there are
    ],
)
def test_a_damaged_checkpoint_is_named_and_training_goes_on_from_before(
    tmp_path, monkeypatch, undisturbed, caplog, damages
):
    config = write_config(tmp_path)

    def killed_at_the_end(path):  # training is over and nothing of it saved but checkpoints
        if path.parent.name == "train":
            raise KeyboardInterrupt
        return whole_folder(path)

    with monkeypatch.context() as patch:
        patch.setattr("dids.training.train.whole_folder", killed_at_the_end)
        patch.setattr(sys, "argv", ["dids", "train", str(config)])
        with pytest.raises(SystemExit):
            cli.main()
    checkpoints = sorted(
        (tmp_path / "run" / "train").glob("checkpoint-*"), key=lambda path: int(path.name[11:])
    )
    assert len(checkpoints) == 2
    for place, (name, how) in damages.items():
        damage(checkpoints[place] / name, how)
    with caplog.at_level(logging.WARNING, "dids"):
        call(monkeypatch, "run", config)
    for place, (name, _) in damages.items():
        assert f"{checkpoints[place] / name} is missing or damaged" in caplog.text
    assert essence(result_of(tmp_path)) == undisturbed
    losses = result_of(tmp_path)["tasks"]["sums"]["validation_history"]
    assert [tokens for tokens, _ in losses] == sorted({tokens for tokens, _ in losses})


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch, undisturbed):
    day_s = 86_400.0
    jumps = itertools.cycle([0.0, 40 * day_s, -400 * day_s, 3.0, -day_s])
    true_time = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: true_time() + next(jumps))
        call(patch, "run", write_config(tmp_path))
    result = result_of(tmp_path)
    assert essence(result) == undisturbed
    assert all(0 < elapsed_s < day_s for elapsed_s in result["time_s"].values())
    assert 0 < result["overhead"] < 1


def test_stages_are_listed_in_their_order_whatever_their_files_times(tmp_path):
    folder = RunFolder(tmp_path)
    for number, stage in enumerate(["check", "tokens", "proxy"]):
        folder.mark_done(stage, elapsed_s=float(number))
        os.utime(tmp_path / "stages" / f"{stage}.json", (1000 - number, 1000 - number))
    assert list(folder.times_s().items()) == [("check", 0.0), ("tokens", 1.0), ("proxy", 2.0)]
    folder.mark_done("proxy", elapsed_s=5.0)
    assert list(folder.times_s()) == ["check", "tokens", "proxy"]


def test_a_change_that_no_result_depends_on_is_accepted_between_stop_and_resume(
    tmp_path, monkeypatch, undisturbed
):
    call(monkeypatch, "domains", write_config(tmp_path))
    versions = (tmp_path / "run" / "versions.json").read_bytes()
    training = {**tiny_config(tmp_path)["training"], "logging_steps": 2}
    data = {**tiny_config(tmp_path)["data"], "cache": str(tmp_path / "cache")}
    call(monkeypatch, "run", write_config(tmp_path, training=training, data=data))
    result = result_of(tmp_path)
    assert essence(result) == undisturbed
    assert result["config"]["training"]["logging_steps"] == 2
    assert not (tmp_path / "cache").exists()  # the tokens were there
    assert (tmp_path / "run" / "versions.json").read_bytes() == versions


def test_a_run_folder_of_a_version_with_other_files_is_refused(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    run = RunFolder(tmp_path / "run")
    run.prepare(load_config(config))
    run.mark_done("tokenizer", elapsed_s=1.0)
    made = run.path / "versions.json"
    versions = read_json(made)
    for command in (("run", config), ("train", run.path), ("watch", run.path)):
        write_json(made, {**versions, "dids": "0.0.9", "run_folder": "0"})
        message = sentence(capsys, monkeypatch, *command)
        assert "dids 0.0.9 made this run folder" in message
        assert "go on with the version that began it" in message
        assert run.is_done("tokenizer")
    del versions["run_folder"]  # made before run folders had a number
    write_json(made, versions)
    message = sentence(capsys, monkeypatch, "run", config)
    assert f"dids {__version__} made this run folder" in message


def test_a_field_that_there_was_not_when_a_run_began_has_its_default(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    run = RunFolder(tmp_path / "run")
    run.prepare(load_config(config))
    run.mark_done("tokenizer", elapsed_s=1.0)
    recorded = yaml.safe_load((run.path / "config.yaml").read_text("utf-8"))
    assert recorded["evaluation"].pop("base") is True
    (run.path / "config.yaml").write_text(yaml.safe_dump(recorded), encoding="utf-8")
    run.prepare(load_config(config))
    evaluation = {**tiny_config(tmp_path)["evaluation"], "base": False}
    message = sentence(capsys, monkeypatch, "run", write_config(tmp_path, evaluation=evaluation))
    assert "'evaluation.base' is True there and False now" in message


def test_a_change_that_matters_is_named_though_another_does_not(tmp_path, capsys, monkeypatch):
    call(monkeypatch, "features", write_config(tmp_path))
    before = json.dumps(RunFolder(tmp_path / "run").facts("tokens"))
    data = {**tiny_config(tmp_path)["data"], "cache": "elsewhere"}
    changed = write_config(tmp_path, data=data, budget={"tokens": 5000})
    message = sentence(capsys, monkeypatch, "run", changed)
    assert "'budget.tokens' is 4000 there and 5000 now" in message
    assert "cache" not in message
    assert json.dumps(RunFolder(tmp_path / "run").facts("tokens")) == before
