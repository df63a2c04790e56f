"""What is read of a run's folder."""

import json

import pytest

from dids.compare.outcome import mean_mixture, read_outcome
from dids.errors import InputError
from dids.report.record import read_run_record


def test_an_outcome_is_what_the_result_says(finished):
    folder = finished.folder / "seed-1" / "dids"
    result = json.loads((folder / "result.json").read_text("utf-8"))
    found = read_outcome(folder)
    assert found.mean_loss == pytest.approx(
        sum(task["test_loss"] for task in result["tasks"].values()) / 2
    )
    histories = [task["validation_history"] for task in result["tasks"].values()]
    assert found.curve[-1][0] == result["tokens"]
    assert found.curve[-1][1] == pytest.approx(sum(h[-1][1] for h in histories) / 2)
    assert found.mean_accuracy == result["tasks"]["colours"]["accuracy"]


def test_tasks_count_by_their_weights_in_every_mean(finished, tmp_path):
    folder = finished.folder / "seed-1" / "dids"
    result = json.loads((folder / "result.json").read_text("utf-8"))
    result["config"]["tasks"]["sums"]["weight"] = 3.0
    result["config"]["tasks"]["colours"]["weight"] = 1.0
    (tmp_path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    found = read_outcome(tmp_path)
    sums, colours = result["tasks"]["sums"], result["tasks"]["colours"]
    assert found.mean_loss == pytest.approx(0.75 * sums["test_loss"] + 0.25 * colours["test_loss"])
    ends = [task["validation_history"][-1][1] for task in (sums, colours)]
    assert found.curve[-1][1] == pytest.approx(0.75 * ends[0] + 0.25 * ends[1])
    assert found.mean_accuracy == pytest.approx(colours["accuracy"])  # sums has no choices


def test_the_mean_mixture_weighs_rounds_by_their_steps(finished):
    record = read_run_record(finished.folder / "seed-0" / "dids" / "result.json")
    ends = [entry.step for entry in record.mixture[1:]] + [record.steps]
    for name, share in mean_mixture(record).items():
        steps = [end - entry.step for entry, end in zip(record.mixture, ends, strict=True)]
        shares = [entry.probability[name] for entry in record.mixture]
        expected = sum(s * n for s, n in zip(shares, steps, strict=True)) / sum(steps)
        assert share == pytest.approx(expected, abs=1e-6)


def test_a_loss_that_is_no_number_is_named(finished, tmp_path):
    result = json.loads((finished.folder / "seed-0" / "dids" / "result.json").read_text("utf-8"))
    result["tasks"]["sums"]["test_loss"] = float("nan")
    (tmp_path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    with pytest.raises(InputError, match="the test loss of sums is nan"):
        read_outcome(tmp_path)
