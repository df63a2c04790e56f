"""Children of a contest, forked from a process that has imported everything and does nothing else.

A child of its own would import for most of a tiny run's time. It is not forked from the test's
process: a lock that one of its threads holds would be held in the child for ever.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from multiprocessing.connection import Connection
from types import SimpleNamespace

import torch

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["dids.run.runner", "transformers.models.llama.modeling_llama"])


class ForkedChild:
    """As much of `subprocess.Popen` as a contest asks of it."""

    def __init__(self, command, *, stdin, stdout, stderr, start_new_session, env) -> None:
        assert command[1:3] == ["-m", "dids.compare.child"]
        assert stdin == subprocess.PIPE and stderr == subprocess.STDOUT and start_new_session
        theirs, ours = _FORKS.Pipe(duplex=False)
        self.stdin = os.fdopen(os.dup(ours.fileno()), "wb")
        arguments = (command[3:], stdout.name, env, theirs)
        self._process = _FORKS.Process(target=_run, args=arguments)
        self._process.start()
        theirs.close()
        ours.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("dids.compare.child", timeout)
        return self.returncode

    def kill(self) -> None:
        self._process.kill()


CHILDREN = SimpleNamespace(
    Popen=ForkedChild,
    PIPE=subprocess.PIPE,
    STDOUT=subprocess.STDOUT,
    TimeoutExpired=subprocess.TimeoutExpired,
)
"""In place of the module `subprocess`."""


def _run(arguments: list[str], output: str, env: dict[str, str], contest: Connection) -> None:
    os.setsid()
    os.dup2(contest.fileno(), 0)
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdin = os.fdopen(0)  # a forked process has another
    os.environ.clear()
    os.environ.update(env)
    torch.set_num_threads(int(env["OMP_NUM_THREADS"]))
    os.fsync = lambda descriptor: None
    sys.argv = ["dids", *arguments]
    runpy.run_module("dids.compare.child", run_name="__main__")
