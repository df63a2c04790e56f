"""A tiny contest and its result."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from run.launched import forked
from run.tiny_run import write_config

from dids import cli
from dids.atomic import read_json

TWO = ("--policies", "uniform,dids", "--seeds", "0-1", "--jobs", "2")


class ForkedChild:
    """A child of a contest, forked: one of its own would import for most of its time.

    Contests that tests start in processes of their own have real ones.
    """

    def __init__(self, command, *, stdin, stdout, stderr, start_new_session, env) -> None:
        assert command[1:3] == ["-m", "dids.compare.child"]
        assert stdin == subprocess.PIPE and stderr == subprocess.STDOUT and start_new_session
        ours, theirs = os.pipe()[::-1]

        def begin() -> None:
            os.setsid()
            os.environ |= env
            os.close(ours)
            threading.Thread(target=end_with, args=(theirs,), daemon=True).start()

        self.pid = forked(Path(stdout.name), command[3:], begin)
        os.close(theirs)
        self.stdin = os.fdopen(ours, "wb")
        self.returncode = None

    def poll(self) -> int | None:
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float) -> int:
        until_s = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < until_s
            time.sleep(0.01)
        return self.returncode


CHILDREN = SimpleNamespace(
    Popen=ForkedChild,
    PIPE=subprocess.PIPE,
    STDOUT=subprocess.STDOUT,
    TimeoutExpired=subprocess.TimeoutExpired,
)


def end_with(descriptor: int) -> None:
    os.read(descriptor, 1)
    os._exit(130)


class TinyContest:
    """A config in a folder, and what becomes of it."""

    def __init__(self, folder: Path) -> None:
        # Rounds enough for a curve, few enough for seconds.
        self.config = write_config(folder, mixture={"policy": "dids", "rounds": 2})
        self.folder = folder / "run-compare"

    def call(self, *options) -> int:
        """``dids compare`` with options: its exit status."""
        with pytest.MonkeyPatch.context() as patch:
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
