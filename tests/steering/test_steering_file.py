"""The file that a run writes says what holds, and reads back as what it was written from."""

import pytest
import yaml
from given_names import NAMES

from dids.config.steering import Steering, load_steering
from dids.errors import InputError
from dids.steering.changes import changes
from dids.steering.file import write_steering
from dids.steering.follower import checked_steering

SAID = Steering.from_json(
    {
        "data": {"sources": {"web": {"cap": 0.9}, "code": {}}},
        "mixture": {
            "floor": 0.1,
            "domains": {"web/*": {"floor": 0.05, "prior": 0.2}},
            "groups": {"all": {"domains": ["code", "code+web"], "pin": 0.4}},
        },
        "tasks": {"sums": {"weight": 2.0}, "colours": {"weight": 1.0}},
    }
)


@pytest.mark.parametrize("steering", [SAID, Steering()])
def test_what_is_written_reads_back(tmp_path, steering):
    path = tmp_path / "steering.yaml"
    write_steering(path, steering, {"web/0": 10, "näme: #1": 1200})
    assert load_steering(path)[0] == steering
    assert "#   näme: #1  1,200" in path.read_text(encoding="utf-8")


def test_examples_in_the_files_comments_are_accepted(tmp_path):
    path = tmp_path / "steering.yaml"
    write_steering(path, Steering(), {})
    lines = path.read_text(encoding="utf-8").splitlines()
    shown = [line.strip(" #") for line in lines if line.startswith("  #   ")]
    assert len(shown) == 2
    domains, groups = (yaml.safe_load(line) for line in shown)
    Steering.from_json({"mixture": {"domains": domains, "groups": groups}})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("floor: 0.1\n", "floor: 1.5\n", "'mixture.floor': input should be less"),
        ("floor: 0.1\n", "flor: 0.1\n", "unknown key 'mixture.flor'; did you mean 'floor'"),
        ("pin: 0.4", "pni: 0.4", "unknown key 'mixture.groups.all.pni'; did you mean"),
        ("pin: 0.4", "pin: 0.4, cap: 0.5", "leave floor and cap out"),
        ("code, code+web", "codd", "'mixture.groups.all.domains': no domain is called"),
        (
            "pin: 0.4",
            "pin: 0.99",
            "'mixture.groups.all.pin': 0.99 contradicts 'mixture.domains.web/*",
        ),
        ("pin: 0.4", "pin: 0.4]", "not valid YAML"),
        ("weight: 2.0", "weight: -1", "'tasks.sums.weight'"),
        ("weight: 2.0", "weight: .nan", "'tasks.sums.weight'"),
    ],
)
def test_a_slip_is_told_with_file_line_and_field(tmp_path, old, new, words):
    path = tmp_path / "steering.yaml"
    write_steering(path, SAID, {})
    text = path.read_text().replace(old, new, 1)
    path.write_text(text)
    line = 1 + text[: text.index(new)].count("\n")
    with pytest.raises(InputError) as error:
        checked_steering(path, NAMES)
    assert f"{path}, line {line}: " in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_file_is_a_slip_and_not_a_wish(tmp_path):
    path = tmp_path / "steering.yaml"
    path.write_text("# nothing\n")
    with pytest.raises(InputError, match="must be a mapping of sections"):
        checked_steering(path, NAMES)


def test_changes_name_fields_with_both_values():
    later = SAID.to_json()
    later["mixture"]["groups"] = {}
    later["mixture"]["domains"]["code"] = {"cap": 0.3}
    later["tasks"]["sums"]["weight"] = 3.0
    found = changes(SAID, Steering.from_json(later))
    assert {(change.field, str(change.before), str(change.after)) for change in found} == {
        ("mixture.domains.code.cap", "None", "0.3"),
        ("mixture.groups.all.domains", "['code', 'code+web']", "None"),
        ("mixture.groups.all.pin", "0.4", "None"),
        ("tasks.sums.weight", "2.0", "3.0"),
    }
    assert str(found[0]).startswith("mixture.domains.code.cap from none to 0.3")
