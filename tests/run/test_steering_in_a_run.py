"""A run that is steered, and killed, ends as one left alone with the same edits."""

import json

import pytest
from launched import killed_when
from test_bad_input import sentence
from test_whole_run import call, essence, result_of
from tiny_run import write_config

from dids.steering.log import SteeringLog

LONGER = {
    "mixture": {"policy": "dids", "rounds": 8},
    "budget": {"tokens": 8000},
    "impact": {"validation_samples": 4, "overhead": None},  # a mixture every round
    "control": None,
}
NOISE_CAPPED = """
mixture:
  floor: 0.1
  domains: {"noise*": {cap: 0.05}}
  groups: {words: {sources: [sums, colours], floor: 0.9}}
tasks: {sums: {weight: 3.0}}
"""
SUMS_PINNED = """
mixture:
  floor: 0.05
  groups: {sums: {sources: sums, pin: 0.6}}
data: {sources: {colours: {prior: 0.1}}}
"""


def edit(folder, text):
    (folder / "run" / "steering.yaml").write_text(text, encoding="utf-8")


def record_of(folder):
    path = folder / "run" / "train" / "steering.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def decided(folder):
    record = record_of(folder)
    return -1 if record is None else record["decided"]["round"]


def run_left_alone(folder, monkeypatch, edits):
    """A run to its end; each edit is made right after a round was decided."""
    decide = SteeringLog.decide

    def decide_and_edit(self, moment, *arguments, **more):
        decide(self, moment, *arguments, **more)
        if moment.round in edits:
            edit(folder, edits[moment.round])

    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(SteeringLog, "decide", decide_and_edit)
        call(patch, "run", write_config(folder, **LONGER))
    return result_of(folder)


def steered(result):
    """What must not differ between two runs with the same edits."""
    return {**essence({**result, "control": {"tokens": 0, "steps": 0, "tasks": {}}}),
            "steering": result["steering"]}  # fmt: skip


def share(probability, source):
    return sum(p for name, p in probability.items() if name.split("/")[0] == source)


def test_edits_hold_from_the_next_round_and_are_told(tmp_path, monkeypatch):
    result = run_left_alone(tmp_path / "a", monkeypatch, {2: NOISE_CAPPED, 4: SUMS_PINNED})
    by_round = {entry["round"]: entry["probability"] for entry in result["mixture"]}
    assert all(share(by_round[number], "noise") > 0.05 for number in range(3))
    assert all(share(by_round[number], "noise") <= 0.05 + 1e-9 for number in (3, 4))
    for number in (5, 6, 7):
        assert share(by_round[number], "sums") == pytest.approx(0.6, abs=1e-8)
    changed = result["steering"]["changes"]
    assert [entry["round"] for entry in changed] == [3, 5]
    assert {"field": "mixture.floor", "before": 0.25, "after": 0.1} in changed[0]["changes"]
    assert {"field": "tasks.sums.weight", "before": 1.0, "after": 3.0} in changed[0]["changes"]
    assert changed[0]["tokens"] == result["mixture"][3]["tokens"]
    page = (tmp_path / "a" / "run" / "report.html").read_text(encoding="utf-8")
    assert '<section id="steering">' in page
    assert "<code>mixture.groups.sums.pin</code>: none → <b>0.6</b>" in page


@pytest.mark.parametrize("number", [0, 3])
def test_run_killed_and_edited_ends_as_one_with_the_same_edit(tmp_path, monkeypatch, number):
    folder = tmp_path / "killed"
    folder.mkdir()
    config = write_config(folder, **LONGER)
    assert killed_when(folder, config, lambda folder: decided(folder) >= number)
    edit(folder, NOISE_CAPPED)
    last = decided(folder)
    call(monkeypatch, "run", config)
    alone = run_left_alone(tmp_path / "alone", monkeypatch, {last: NOISE_CAPPED})
    assert steered(result_of(folder)) == steered(alone)


def test_run_edited_alive_then_killed_and_edited_again_repeats_what_was_decided(
    tmp_path, monkeypatch
):
    folder = tmp_path / "killed"
    folder.mkdir()
    config = write_config(folder, **LONGER)

    def is_steered(folder):
        record = record_of(folder)
        if record is None or record["decided"]["round"] < 1:
            return False
        if (folder / "run" / "steering.yaml").read_text(encoding="utf-8") != NOISE_CAPPED:
            edit(folder, NOISE_CAPPED)
        return len(record["entries"]) > 1

    assert killed_when(folder, config, is_steered)
    edit(folder, SUMS_PINNED)
    record = record_of(folder)
    changed, last = record["entries"][1]["round"], record["decided"]["round"]
    call(monkeypatch, "run", config)
    edits = {changed - 1: NOISE_CAPPED, last: SUMS_PINNED}
    assert steered(result_of(folder)) == steered(
        run_left_alone(tmp_path / "alone", monkeypatch, edits)
    )


def test_a_bad_edit_is_one_line_on_the_terminal_and_in_the_log_and_changes_nothing(
    tmp_path, monkeypatch, capsys
):
    bad = NOISE_CAPPED.replace("cap: 0.05", "pin: 0.05").replace("floor: 0.9", "floor: 0.99")
    result = run_left_alone(tmp_path / "a", monkeypatch, {3: bad})
    told = capsys.readouterr().err.replace("\n", "")
    words = "line 5: 'mixture.groups.words.floor': 0.99 contradicts 'mixture.domains.noise*.pin'"
    path = tmp_path / "a" / "run"
    assert words in told
    assert (path / "log.txt").read_text(encoding="utf-8").count(words) == 1
    undisturbed = run_left_alone(tmp_path / "b", monkeypatch, {})
    assert essence({**result, "control": {"tokens": 0, "steps": 0, "tasks": {}}}) == essence(
        {**undisturbed, "control": {"tokens": 0, "steps": 0, "tasks": {}}}
    )
    (refused,) = result["steering"]["refused"]
    assert refused["round"] == 3
    assert words in refused["sentence"]
    assert "Refused: " in (path / "report.html").read_text(encoding="utf-8")


def test_limits_that_cannot_be_kept_stop_a_run_before_it_measures_and_are_mended_in_the_file(
    tmp_path, monkeypatch, capsys
):
    limits = {"rounds": 2, "groups": {"all": {"domains": ["*"], "cap": 0.5}}}
    config = write_config(tmp_path, mixture=limits, control=None)
    message = sentence(capsys, monkeypatch, "run", config)
    assert "steering.yaml, line" in message
    assert "'mixture.groups.all.cap': 0.5 cannot be kept" in message
    assert not (tmp_path / "run" / "impact.json").exists()
    path = tmp_path / "run" / "steering.yaml"
    path.write_text(path.read_text().replace("cap: 0.5", "floor: 0.5"), encoding="utf-8")
    call(monkeypatch, "run", config)
    assert result_of(tmp_path)["steering"]["changes"] == []
