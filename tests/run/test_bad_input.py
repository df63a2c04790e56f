"""Bad input gets one sentence on standard error and exit status 2; nothing half-written is left."""

import errno
import json
import logging
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from test_whole_run import call
from tiny_run import tiny_config, write_config, write_tiny_data

from dids import cli
from dids.atomic import read_json
from dids.errors import InputError
from dids.run.folder import RunFolder

TOO_MANY = {"number": 1000, "within": "all", "min_samples": 1}
"""More domains than samples: a run ends in the stage that makes them."""


def sentence(capsys, monkeypatch, *arguments) -> str:
    """Run the command line in this process; the one line that it complains with."""
    monkeypatch.setattr(sys, "argv", ["dids", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("dids: ")]
    assert len(lines) == 1
    return lines[0]


def rewritten(folder: Path, name: str, number: int, line: str) -> None:
    """Replace one line (counted from 1) of a file."""
    path = folder / name
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("sums.jsonl", "{not json", "JSON"),
        ("sums.jsonl", json.dumps({"txt": "a"}), "text"),
        ("sums.jsonl", json.dumps({"prompt": "a", "completion": ""}), "completion"),
        ("sums.jsonl", json.dumps({"prompt": "a"}), "completion"),
        (
            "colours.jsonl",
            json.dumps({"messages": [{"role": "user", "content": "a"}]}),
            "assistant",
        ),
    ],
)
def test_bad_record_names_file_line_and_field(tmp_path, capsys, monkeypatch, name, line, expected):
    config = write_config(tmp_path)
    rewritten(tmp_path, name, 7, line)
    message = sentence(capsys, monkeypatch, "run", config)
    assert name in message
    assert "7" in message
    assert expected in message
    assert not list((tmp_path / "run").rglob("*.tmp*"))


def test_text_that_is_no_utf8_is_named(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    (tmp_path / "noise.jsonl").write_bytes(b'{"text": "\xff\xfe"}\n')
    message = sentence(capsys, monkeypatch, "run", config)
    assert "noise.jsonl" in message
    assert "UTF-8" in message


def test_missing_file_is_named(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    (tmp_path / "colours.jsonl").unlink()
    assert "colours.jsonl" in sentence(capsys, monkeypatch, "run", config)


def test_empty_source_is_named(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    (tmp_path / "noise.jsonl").write_text("\n", encoding="utf-8")
    assert "noise" in sentence(capsys, monkeypatch, "run", config)


def test_task_without_validation_items_is_named(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    (tmp_path / "sums-validation.jsonl").write_text("", encoding="utf-8")
    said = sentence(capsys, monkeypatch, "run", config)
    assert said.startswith("dids: Task 'sums' (validation) (")
    assert "sums-validation.jsonl) has no usable record" in said


def test_a_task_with_too_little_to_halve_is_named(tmp_path, capsys, monkeypatch):
    path = tmp_path / "few.jsonl"
    path.write_text('{"text": "one"}\n', encoding="utf-8")
    said = sentence(
        capsys, monkeypatch, "run", write_config(tmp_path, tasks={"few": str(path)}, control=None)
    )
    assert said.startswith("dids: Task 'few' (test) (")
    assert "few.jsonl): of two halves the second has no usable record; give more" in said


def test_missing_file_of_a_task_is_named(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    (tmp_path / "sums-test.jsonl").unlink()
    said = sentence(capsys, monkeypatch, "run", config)
    assert said.startswith("dids: Task 'sums' (test): there is no file or folder ")


def test_more_domains_than_samples_is_refused(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path, domains=TOO_MANY)
    message = sentence(capsys, monkeypatch, "run", config)
    assert "domains.number" in message
    assert "1000" in message


def test_model_whose_vocabulary_is_too_small_is_refused(tmp_path, capsys, monkeypatch):
    write_tiny_data(tmp_path)
    model = tiny_config(tmp_path)["model"]
    model["config"]["vocab_size"] = 100
    config = write_config(tmp_path, model=model)
    message = sentence(capsys, monkeypatch, "run", config)
    assert "100" in message
    assert "300" in message


def test_loss_that_turns_nan_is_named_with_its_step(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path, training={"learning_rate": 1e30, "max_grad_norm": 0.0})
    message = sentence(capsys, monkeypatch, "run", config)
    assert "step" in message
    assert "learning_rate" in message


def test_run_folder_of_another_config_is_refused_with_the_difference(tmp_path, capsys, monkeypatch):
    sentence(capsys, monkeypatch, "run", write_config(tmp_path, domains=TOO_MANY))
    message = sentence(capsys, monkeypatch, "run", write_config(tmp_path, seed=1))
    assert "'seed' is 0 there and 1 now" in message


@pytest.mark.parametrize(("section", "named"), [("tasks", "tasks"), ("sources", "data.sources")])
def test_another_order_of_sources_or_tasks_is_another_config(
    tmp_path, capsys, monkeypatch, section, named
):
    sentence(capsys, monkeypatch, "run", write_config(tmp_path, domains=TOO_MANY))
    raw = yaml.safe_load((tmp_path / "config.yaml").read_text("utf-8"))
    holder = raw if section == "tasks" else raw["data"]
    holder[section] = dict(reversed(holder[section].items()))
    names = list(holder[section])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    message = sentence(capsys, monkeypatch, "run", tmp_path / "config.yaml")
    assert f"'{named}, in this order,' is {names[::-1]} there and {names} now" in message


def test_tasks_without_any_completion_are_named(tmp_path, capsys, monkeypatch):
    for split in ("validation", "test"):
        lines = [json.dumps({"prompt": f"what is {i}?"}) for i in range(4)]
        (tmp_path / f"asked-{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    files = {s: str(tmp_path / f"asked-{s}.jsonl") for s in ("validation", "test")}
    config = write_config(tmp_path, tasks={"asked": files})
    said = sentence(capsys, monkeypatch, "run", config)
    assert "tasks: no task has a completion, so there is no loss to be guided by" in said


def test_the_home_of_nobody_is_one_sentence(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path, run="~nobody-of-this-name/run")
    said = sentence(capsys, monkeypatch, "run", config)
    assert "a path begins with ~ and a name, but there is no such user here" in said


def test_a_folder_where_a_file_shall_be_is_one_sentence(tmp_path, capsys, monkeypatch):
    (tmp_path / "there").mkdir()
    config = write_config(tmp_path)
    said = sentence(capsys, monkeypatch, "check", config, "--json", tmp_path / "there")
    assert "there" in said
    assert "is a directory" in said


def test_a_path_that_no_file_can_have_is_one_sentence(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path, run="runs/\0x")
    assert "is no path" in sentence(capsys, monkeypatch, "run", config)


def test_a_limit_that_changed_in_the_config_is_sent_to_the_steering_file(
    tmp_path, capsys, monkeypatch
):
    sentence(capsys, monkeypatch, "run", write_config(tmp_path, domains=TOO_MANY))
    changed = {"policy": "dids", "rounds": 4, "floor": 0.1}
    config = write_config(tmp_path, domains=TOO_MANY, mixture=changed)
    message = sentence(capsys, monkeypatch, "run", config)
    assert "'mixture.floor' is 0.25 there and 0.1 now" in message
    assert f"edit {tmp_path / 'run' / 'steering.yaml'} instead" in message


def test_a_place_where_no_folder_can_be_is_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "thesis.tex").write_text("x", encoding="utf-8")
    for place in ("thesis.tex", "thesis.tex/run"):
        config = write_config(tmp_path, run=str(tmp_path / place))
        message = sentence(capsys, monkeypatch, "run", config)
        assert f"there can be no folder {tmp_path / place}" in message


def test_a_model_that_cannot_be_built_is_refused_before_the_first_stage(
    tmp_path, capsys, monkeypatch
):
    model = {**tiny_config(tmp_path)["model"]["config"], "num_attention_heads": 3}
    config = write_config(tmp_path, model={"config": model})
    assert "model.config: no llama model can be built" in sentence(
        capsys, monkeypatch, "run", config
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ({"lr_scheduler_kwargs": {"power": 2}}, "refuses the schedule: get_linear_schedule"),
        ({"report_to": "wandbx"}, "refuses these arguments: wandbx is not supported"),
        ({"optim": "schedule_free_sgd"}, "schedulefree"),
    ],
)
def test_what_the_trainer_refuses_is_said_before_features_are_made(
    tmp_path, capsys, monkeypatch, argument, said
):
    training = {**tiny_config(tmp_path)["training"], **argument}
    config = write_config(tmp_path, training=training)
    message = sentence(capsys, monkeypatch, "run", config)
    assert message.startswith("dids: training: Transformers ")
    assert said in message
    assert not (tmp_path / "run" / "features").exists()


def test_a_step_of_more_tokens_than_the_budget_is_said(tmp_path, monkeypatch, caplog):
    config = write_config(tmp_path, budget={"tokens": 20})
    with caplog.at_level(logging.WARNING, "dids"):
        call(monkeypatch, "train", config)
    assert "tokens, more than budget.tokens, 20: the training is one step" in caplog.text


def test_folder_with_other_files_is_no_run_folder(tmp_path, capsys, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x", encoding="utf-8")
    config = write_config(tmp_path)
    assert "thesis.tex" in sentence(capsys, monkeypatch, "run", config)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_stage_of_a_folder_without_a_run_is_refused(tmp_path, capsys, monkeypatch):
    assert "there is no run here" in sentence(capsys, monkeypatch, "domains", tmp_path)


def test_data_that_changed_since_the_run_began_is_refused(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path, domains=TOO_MANY)
    sentence(capsys, monkeypatch, "run", config)  # stops at clustering, after tokenising
    rewritten(tmp_path, "noise.jsonl", 1, json.dumps({"text": "another text"}))
    message = sentence(capsys, monkeypatch, "run", config)
    assert "noise" in message
    assert "changed" in message


def test_full_disk_is_one_sentence(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "run"))

    monkeypatch.setattr("dids.run.folder.write_json", full)
    message = sentence(capsys, monkeypatch, "run", config)
    assert "the disk is full" in message


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, capsys, monkeypatch, number):
    config = write_config(tmp_path)

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "run"))

    monkeypatch.setattr("dids.run.folder.write_json", refused)
    message = sentence(capsys, monkeypatch, "run", config)
    assert f"{tmp_path / 'run'}: cannot be written ({os.strerror(number).lower()})" in message


@pytest.mark.parametrize("place", ["source", "run"])
def test_a_path_that_is_too_long_is_said_to_be(tmp_path, capsys, monkeypatch, place):
    long = str(tmp_path / ("x" * 300))
    config = tiny_config(tmp_path)
    data = {**config["data"]}
    if place == "source":
        data["sources"] = {**data["sources"], "web": f"{long}.jsonl"}
    run = long if place == "run" else str(tmp_path / "run")
    message = sentence(capsys, monkeypatch, "run", write_config(tmp_path, data=data, run=run))
    assert "x" * 300 in message
    assert "the path is too long for this file system; give a shorter one" in message


def test_a_cache_where_a_file_lies_is_one_sentence(tmp_path, capsys, monkeypatch):
    (tmp_path / "cache").write_text("x", encoding="utf-8")
    data = {**tiny_config(tmp_path)["data"], "cache": str(tmp_path / "cache")}
    message = sentence(capsys, monkeypatch, "run", write_config(tmp_path, data=data))
    assert f"{tmp_path / 'cache'}: cannot be written (file exists)" in message


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run without a control, to its end."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        call(patch, "run", write_config(folder, control=None))
    return folder


@pytest.fixture
def left(finished, tmp_path):
    """The same run, to be damaged; its data lies where it was."""
    shutil.copytree(finished / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "name", ["train/history.json", "train/drawn.json", "evaluation.json", "stages/train.json"]
)
@pytest.mark.parametrize("octets", [b"", b'{"a": [1, 2'])
def test_a_file_of_a_run_that_was_cut_off_is_named(left, capsys, monkeypatch, name, octets):
    (left / name).write_bytes(octets)
    with pytest.raises(InputError, match=f"{name} is damaged: not valid JSON") as refusal:
        read_json(left / name)
    assert isinstance(refusal.value, ValueError)  # whoever makes such a file anew catches it


def test_a_report_that_fails_leaves_a_run_finished(finished, capsys, monkeypatch):
    moved = (finished / "noise.jsonl").rename(finished / "moved.jsonl")
    try:
        message = sentence(capsys, monkeypatch, "report", finished / "run")
    finally:
        moved.rename(finished / "noise.jsonl")
    assert "noise.jsonl" in message
    assert RunFolder(finished / "run").is_done("report")
    call(monkeypatch, "report", finished / "run")


def test_a_stage_that_was_stopped_counts_what_it_took_before(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path, domains=TOO_MANY)
    sentence(capsys, monkeypatch, "run", config)
    folder = RunFolder(tmp_path / "run")
    assert not folder.is_done("domains")
    took_s = folder.spent_s("domains")
    assert took_s > 0.0
    sentence(capsys, monkeypatch, "run", config)
    assert folder.spent_s("domains") > took_s
    assert folder.spent_s("features") == 0.0  # it ended


def test_bad_records_are_skipped_by_request_and_listed(tmp_path, capsys, monkeypatch):
    write_tiny_data(tmp_path)
    rewritten(tmp_path, "sums.jsonl", 3, "{not json")
    data = {**tiny_config(tmp_path)["data"], "on_bad_record": "skip"}
    config = write_config(tmp_path, data=data, control=None)
    monkeypatch.setattr(sys, "argv", ["dids", "run", str(config)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    (bad,) = result["bad_records"]["sums"]
    assert bad["line"] == 3
    assert "sums.jsonl" in bad["file"]
    assert "sums.jsonl" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    said = [*result["warnings"], *(finding["sentence"] for finding in result["findings"])]
    assert [each for each in said if each.startswith("sums: 1 record")] == [
        "sums: 1 record was skipped; it is listed below."
    ]


def test_two_runs_on_one_folder_the_second_is_refused(tmp_path, capsys, monkeypatch):
    from dids.run.folder import RunFolder

    config = write_config(tmp_path)
    with RunFolder(Path(yaml.safe_load(config.read_text("utf-8"))["run"])).locked():
        assert "another process" in sentence(capsys, monkeypatch, "run", config)


@pytest.mark.parametrize("field", ["model", "tokenizer"])
def test_a_folder_that_is_not_there_is_said_at_once(tmp_path, capsys, monkeypatch, field):
    config = write_config(tmp_path, **{field: str(tmp_path / "bas")})
    message = sentence(capsys, monkeypatch, "run", config)
    assert f"{field}: there is no folder '{tmp_path / 'bas'}'." in message
