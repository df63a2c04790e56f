"""What is wrong with a contest is said in one sentence, before anything runs."""

import pytest

from dids.compare.entrants import Entrant, entrants_of
from dids.compare.seeds import parsed_seeds, tuning_seed
from dids.errors import InputError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policies", "uniform,didz"], "--policies: 'didz' must be"),
        (["--policies", "didz"], "the nearest is dids"),
        (["--policies", "dids,dids"], "--policies: dids takes part twice; give the second"),
        (["--policies", ","], "--policies names nobody"),
        (["--policies", "nowhere:Policy"], "there is no module 'nowhere'"),
        (["--policies", "missing.yaml"], "there is no such file of entrants"),
        (["--seeds", "zero"], "--seeds: 'zero' is neither a number nor a range"),
        (["--seeds", "4-2"], "--seeds: '4-2' is neither a number nor a range"),
        (["--seeds", ""], "--seeds: '' is neither a number nor a range"),
        (["--seeds", "0-2,1"], "--seeds: 1 is given twice"),
    ],
)
def test_a_slip_in_the_options_is_one_sentence(tiny, capsys, options, said):
    assert tiny.call(*options) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1
    assert not (tiny.folder / "seed-0").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entrants: {a: {policy: didz}}", "line 1: policy 'didz' must be"),
        ("entrants: {a: {policies: dids}}", "line 1: unknown key 'entrants.a.policies'"),
        ("entrants: {a: {policy: dids, settings: {emma: 1}}}", "entrant a: mixture.settings.emma"),
        ("entrants: {a: {policy: dids, impact: {overhead: 2}}}", "entrant a: 'impact.overhead'"),
        ("entrants: {a: {policy: dids, impact: {over: 2}}}", "entrant a: 'impact.over'"),
        ("entrants: {}", "'entrants'"),
        ("entrants: [dids]", "'entrants'"),
        ("entrants: {a b: {policy: dids}, a-b: {policy: dids}}", "a-b takes part twice (as a b)"),
        ("entrants: {prepared: {policy: dids}}", "prepared"),
    ],
)
def test_a_slip_in_a_file_of_entrants_is_one_sentence(tiny, capsys, tmp_path, text, said):
    path = tmp_path / "entrants.yaml"
    path.write_text(text, encoding="utf-8")
    assert tiny.call("--policies", path) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1


def test_a_folder_of_something_else_is_left_alone(tiny, capsys, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious.txt").write_text("mine")
    assert tiny.call("--out", other) == 2
    assert "holds other files (precious.txt) and no contest" in capsys.readouterr().err
    assert {path.name for path in other.iterdir()} <= {"precious.txt", ".lock"}


def test_a_folder_that_is_a_file_is_refused(tiny, capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert tiny.call("--out", tmp_path / "file") == 2
    assert "is a file" in capsys.readouterr().err


def test_uniform_takes_part_in_any_case():
    assert [entrant.name for entrant in entrants_of("dids")] == ["uniform", "dids"]
    assert [entrant.name for entrant in entrants_of("dids, uniform")] == ["dids", "uniform"]


def test_all_are_those_that_need_no_settings():
    names = [entrant.name for entrant in entrants_of("all")]
    assert {"uniform", "proportional", "dids", "dids-paper"} <= set(names)


def test_own_settings_hold_in_every_search():
    class Policy:
        searched = ({}, {"a": 1.0}, {"a": 2.0})

    entrant = Entrant("x", "dids", {"b": 3.0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dids.compare.entrants.policy_class", lambda name: Policy)
        assert entrant.searched == ({"b": 3.0}, {"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 3.0})
        fixed = Entrant("x", "dids", {"a": 5.0})
        assert fixed.searched == ({"a": 5.0},)


def test_the_tuning_seed_stays_when_more_seeds_join():
    assert tuning_seed(parsed_seeds("0-4")) == tuning_seed(parsed_seeds("0-99"))
    with pytest.raises(InputError):
        parsed_seeds("1,,2")
