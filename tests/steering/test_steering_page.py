"""The examples on the page are accepted, and refused, as it says."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dids.cli import app
from dids.errors import InputError
from dids.steering.follower import checked_steering
from dids.steering.names import KnownNames
from dids.steering.resolved import resolved

PAGE = Path(__file__).parents[2] / "docs" / "steering.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
DOMAINS = ["web/0", "web/1", "web/2", "code/0", "code/1", "chats", "junk"]
SOURCES = ["web", "code", "chats", "junk"]
NAMES = KnownNames.of(
    DOMAINS, SOURCES, ["qa", "sums"], ["qa", "sums"],
    np.array([[name.split("/")[0] == source for source in SOURCES] for name in DOMAINS], dtype=int),
)  # fmt: skip


def test_the_first_example_holds_as_it_says(tmp_path):
    path = tmp_path / "steering.yaml"
    path.write_text(BLOCKS[0][1])
    found = resolved(checked_steering(path, NAMES), NAMES)
    for wish in np.eye(7):
        mixture = dict(zip(DOMAINS, found.limits.project(wish), strict=True))
        assert 0.05 - 1e-9 <= mixture["chats"] <= 0.3 + 1e-9
        assert mixture["junk"] == pytest.approx(0.01, abs=1e-8)
        assert mixture["code/1"] == pytest.approx(0.1, abs=1e-8)
        assert all(0.02 - 1e-9 <= mixture[f"web/{part}"] <= 0.4 + 1e-9 for part in range(3))
        technical = sum(mixture[name] for name in ("code/0", "code/1", "web/2", "chats"))
        assert technical >= 0.4 - 1e-8
    assert found.prior[[2, 3, 4, 5]].sum() == pytest.approx(0.6)
    np.testing.assert_allclose(found.task_weights, [2 / 3, 1 / 3])


def test_the_contradiction_is_refused_in_the_words_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("steering.yaml")
    path.write_text(BLOCKS[1][1])
    with pytest.raises(InputError) as error:
        checked_steering(path, NAMES)
    assert str(error.value) == BLOCKS[2][1].strip()


def test_the_options_shown_are_those_of_the_command():
    shown = set(re.findall(r"--\w+", BLOCKS[3][1]))
    told = CliRunner().invoke(app, ["domains", "--help"], env={"COLUMNS": "200"}).output
    assert shown == {"--split", "--merge", "--add"}
    assert all(option in told for option in shown)
