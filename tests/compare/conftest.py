"""A tiny contest and its result."""

import sys
from pathlib import Path

import pytest
import torch
from forked_children import CHILDREN
from run.tiny_run import write_config

from dids import cli
from dids.atomic import read_json

TWO = ("--policies", "uniform,dids", "--seeds", "0-1", "--jobs", "2")


class TinyContest:
    """A config in a folder, and what becomes of it."""

    def __init__(self, folder: Path) -> None:
        # Rounds enough for a curve, few enough for seconds.
        self.config = write_config(folder, mixture={"policy": "dids", "rounds": 2})
        self.folder = folder / "run-compare"

    def call(self, *options) -> int:
        """``dids compare`` with options: its exit status.

        A contest that a test starts in a process of its own has real children.
        """
        with pytest.MonkeyPatch.context() as patch:
            if not torch.cuda.is_available():  # which a forked process could not use
                patch.setattr("dids.compare.workers.subprocess", CHILDREN)
            patch.setattr(sys, "argv", ["dids", "compare", str(self.config), *map(str, options)])
            with pytest.raises(SystemExit) as stop:
                cli.main()
        return stop.value.code

    def result(self) -> dict:
        return read_json(self.folder / "compare.json")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def tiny(tmp_path) -> TinyContest:
    return TinyContest(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> TinyContest:
    contest = TinyContest(tmp_path_factory.mktemp("contest"))
    assert contest.call(*TWO) == 0
    return contest
