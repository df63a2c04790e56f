"""An edit holds from the next round; a bad one is refused and told once; what was decided stays."""

import json
import logging

import pytest
from given_names import NAMES

from dids.config.steering import Steering
from dids.errors import InputError
from dids.steering.file import write_steering
from dids.steering.follower import SteeringFollower


@pytest.fixture
def folder(tmp_path):
    write_steering(tmp_path / "steering.yaml", Steering(), {})
    return tmp_path


def follower(folder, start=None, **changes):
    path, log = folder / "steering.yaml", folder / "train" / "steering.json"
    return SteeringFollower(path, log, start or Steering(), NAMES, **changes)


def edit(folder, floor):
    text = f"mixture: {{floor: {floor}}}\n"
    (folder / "steering.yaml").write_text(text + "#" * int(1000 * float(floor)))


def floor_of(resolved):
    return float(resolved.limits.lower_k[0] * 4)


def test_an_edit_holds_from_the_next_round_and_is_recorded(folder):
    run = follower(folder)
    before = run.for_round(0, step=0, tokens=0)
    assert floor_of(before) == 0.25
    assert run.for_round(1, step=10, tokens=100) is before
    edit(folder, 0.5)
    assert floor_of(run.for_round(2, step=20, tokens=200)) == 0.5
    record = json.loads((folder / "train" / "steering.json").read_text())
    assert record["decided"] == {"grouping": 0, "round": 2}
    change = {"field": "mixture.floor", "before": 0.25, "after": 0.5}
    assert [entry["changes"] for entry in record["entries"]] == [[], [change]]
    assert [entry["tokens"] for entry in record["entries"]] == [0, 200]


def test_a_change_is_told_when_it_is_seen_and_holds_later(folder, caplog):
    run = follower(folder)
    held = run.for_round(0, step=0, tokens=0)
    edit(folder, 0.5)
    run.look(0)
    assert "steering.yaml: mixture.floor from 0.25 to 0.5, from the next round on." in caplog.text
    assert floor_of(held) == 0.25
    caplog.clear()
    run.look(0)
    assert caplog.text == ""
    assert floor_of(run.for_round(1, step=1, tokens=1)) == 0.5


def test_a_slip_is_refused_with_one_line_and_the_last_good_edit_holds(folder, caplog):
    run = follower(folder)
    run.for_round(0, step=0, tokens=0)
    edit(folder, 0.5)
    run.look(0)
    caplog.clear()
    edit(folder, 1.5)
    run.look(0)
    run.look(0)
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"{folder / 'steering.yaml'}, line 1: 'mixture.floor'" in line
    assert "The run goes on as it was steered before." in line
    assert caplog.records[0].levelno == logging.WARNING
    assert floor_of(run.for_round(1, step=1, tokens=1)) == 0.5
    record = json.loads((folder / "train" / "steering.json").read_text())
    (refused,) = record["refused"]
    assert refused["round"] == 0
    assert "less than or equal to 1" in refused["sentence"]


def test_a_file_that_is_gone_changes_nothing(folder, caplog):
    run = follower(folder)
    run.for_round(0, step=0, tokens=0)
    (folder / "steering.yaml").unlink()
    assert floor_of(run.for_round(1, step=1, tokens=1)) == 0.25
    assert "there is no such steering file" in caplog.text


def test_a_round_that_was_decided_stays_decided_whatever_the_file_says_by_then(folder):
    run = follower(folder)
    run.for_round(0, step=0, tokens=0)
    run.for_round(1, step=1, tokens=1)
    edit(folder, 0.5)
    run.for_round(2, step=2, tokens=2)
    edit(folder, 0.75)
    again = follower(folder)
    again.look(0)  # seeing the newer edit early must not lose it, nor bring it forward
    assert [floor_of(again.for_round(n, step=n, tokens=n)) for n in range(4)] == [
        0.25, 0.25, 0.5, 0.75,
    ]  # fmt: skip


def test_a_resumed_run_whose_file_is_bad_goes_on_with_what_held(folder, caplog):
    run = follower(folder)
    run.for_round(0, step=0, tokens=0)
    edit(folder, 0.5)
    run.for_round(1, step=1, tokens=1)
    (folder / "steering.yaml").write_text("mixture: [\n")
    again = follower(folder)
    assert floor_of(again.for_round(2, step=2, tokens=2)) == 0.5
    assert "not valid YAML" in caplog.text


def test_at_the_start_the_file_holds_even_where_the_config_could_not_be_kept(folder):
    impossible = Steering.from_json({"mixture": {"domains": {"*": {"pin": 0.5}}}})
    assert floor_of(follower(folder, impossible).for_round(0, step=0, tokens=0)) == 0.25
    (folder / "train" / "steering.json").unlink()
    (folder / "steering.yaml").unlink()
    with pytest.raises(InputError, match=r"mixture\.domains\.\*\.pin"):
        follower(folder, impossible).for_round(0, step=0, tokens=0)


def test_other_domains_are_a_new_beginning_and_the_record_of_before_is_kept(folder):
    run = follower(folder)
    run.for_round(0, step=0, tokens=0)
    run.for_round(3, step=3, tokens=3)
    edit(folder, 0.5)
    regrouped = follower(folder, grouping=1)
    # Round 2 came before: the checkpoint that went on was older than the last decision.
    assert floor_of(regrouped.for_round(2, step=2, tokens=2)) == 0.5
    assert floor_of(regrouped.at_start()) == 0.5
    edit(folder, 0.75)
    assert floor_of(follower(folder, grouping=1).for_round(2, step=2, tokens=2)) == 0.5
