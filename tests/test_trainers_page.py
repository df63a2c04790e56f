"""The examples for other people's trainers run as they stand in the documentation."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "trainers.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.filterwarnings("ignore")


def test_every_example_runs_and_prints_what_is_shown(tmp_path, monkeypatch, capsys):
    pytest.importorskip("trl")
    pytest.importorskip("lightning")
    monkeypatch.chdir(tmp_path)
    names, printed, count = {"__name__": "examples"}, "", 0
    for language, body in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "text":
            assert body == printed
            continue
        capsys.readouterr()
        exec(compile(body, str(PAGE), "exec"), names)
        printed = capsys.readouterr().out
        count += 1
    assert count == 9
    assert names["mixture"].domain_names == ["web", "code"]
    assert (tmp_path / "runs/trainer/checkpoint-4/dids_state.json").exists()


def test_every_public_name_is_there():
    table = PAGE.read_text(encoding="utf-8").partition("## The public API")[2]
    for module, name in re.findall(r"^\| `(dids[\w.]*)\.(\w+)`", table, re.MULTILINE):
        assert hasattr(__import__(module, fromlist=[name]), name)
