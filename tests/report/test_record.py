"""A record is read from plain values, and a wrong field is named."""

import copy
import json

import pytest
from example_run import example_result

from dids.errors import InputError
from dids.report import RunRecord, read_run_record


def test_a_result_file_is_read_with_all_its_values(tmp_path):
    result = example_result()
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    run = read_run_record(path)
    assert run == RunRecord.from_dict(result)
    assert run.tasks["mathqa"].test_loss == result["tasks"]["mathqa"]["test_loss"]
    assert run.control.policy == "uniform"
    assert run.mixture[3].probability == result["mixture"][3]["probability"]
    assert run.domains["gsm8k/0"].tokens_drawn == result["domains"]["gsm8k/0"]["tokens_drawn"]
    assert run.bad_records["open_instructions"][0].line == 812


@pytest.mark.parametrize(
    "key", ["control", "stability", "impact", "overhead", "warnings", "bad_records"]
)
def test_a_shorter_run_may_lack_a_part(key):
    result = example_result()
    del result[key]
    RunRecord.from_dict(result)


@pytest.mark.parametrize(
    ("place", "value", "field"),
    [
        (("seed",), None, "seed"),
        (("tokens",), "many", "tokens"),
        (("mixture", 2, "probability"), [0.5], r"mixture\[2\].probability"),
        (("domains", "gsm8k/0", "samples"), "some", "domains.gsm8k/0.samples"),
        (("tasks", "piqa", "test_loss"), {}, "tasks.piqa.test_loss"),
        (("tasks", "piqa"), 3, "tasks.piqa"),
    ],
)
def test_a_wrong_field_is_named(place, value, field):
    result = copy.deepcopy(example_result())
    inner = result
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(InputError, match=field):
        RunRecord.from_dict(result)


def test_a_missing_field_is_named():
    result = example_result()
    del result["mixture"][0]["step"]
    with pytest.raises(InputError, match=r"mixture\[0\]\.step is missing"):
        RunRecord.from_dict(result)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_file_that_is_no_result_is_named(tmp_path, content):
    path = tmp_path / "result.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"result\.json"):
        read_run_record(path)
