"""Runs in processes of their own, several at a time."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

from dids.compare.layout import PlannedRun

_LOOK_EVERY_S = 0.2
_STOP_WITHIN_S = 10.0


@dataclass(frozen=True)
class Work:
    """A run to be brought up to a stage.

    Attributes:
        run: Which.
        command: Of ``dids``, that does so.
        last: The stage that the command ends with.
        before: Called in front of it. None: nothing is.
    """

    run: PlannedRun
    command: str
    last: str
    before: Callable[[], None] | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.run.folder.is_done(self.last)


@runtime_checkable
class Watcher(Protocol):
    """Is told how the runs come along."""

    def look(self, running: Sequence[PlannedRun]) -> None:
        """Called often, with the runs under way."""

    def ended(self, run: PlannedRun, elapsed_s: float, failure: str | None) -> None:
        """Called once for each run that was started."""


@dataclass(frozen=True)
class Workers:
    """Where runs are done.

    Attributes:
        jobs: Runs at a time.
        threads: Of each run.
        output: Folder for what the runs print.
    """

    jobs: int
    threads: int
    output: Path

    def do(self, works: Sequence[Work], watcher: Watcher) -> dict[str, str]:
        """Do what is not done yet; a run that fails does not stop the others.

        Returns:
            By run folder, in one sentence, why a run failed.
        """
        waiting = [work for work in works if not work.is_done]
        running: list[_Process] = []
        failures: dict[str, str] = {}
        with _all_ended(running):
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    running.append(_Process(waiting.pop(0), self))
                time.sleep(_LOOK_EVERY_S)
                watcher.look([process.work.run for process in running])
                for process in [process for process in running if process.has_ended]:
                    running.remove(process)
                    failure = process.failure()
                    if failure is not None:
                        failures[str(process.work.run.folder.path)] = failure
                    watcher.ended(process.work.run, process.elapsed_s, failure)
        return failures


class _Process:
    """A run under way."""

    def __init__(self, work: Work, workers: Workers) -> None:
        self.work = work
        self.began_s = time.perf_counter()
        folder = work.run.folder
        folder.prepare(work.run.config)
        if work.before is not None:
            work.before()
        place = f"{folder.path.parent.name}-{folder.path.name}.txt"
        workers.output.mkdir(exist_ok=True)
        self.output = workers.output / place
        threads = str(workers.threads)
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
        with self.output.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dids.compare.child", work.command, str(folder.path)],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the contest's to handle
                env={**os.environ, **dict.fromkeys(names, threads)},
            )

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self.began_s

    def failure(self) -> str | None:
        """Why the run failed: its own sentence, or the end of its traceback."""
        self._input.close()
        if self.process.returncode == 0:
            return None
        lines = self.output.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.removeprefix("dids: ") for line in lines if line.startswith("dids: ")]
        if said:
            return said[-1]
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f"it ended with status {self.process.returncode}: {last} (see {self.output})"

    def stop(self) -> None:
        self._input.close()
        try:
            self.process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def _input(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin


@contextmanager
def _all_ended(running: list[_Process]) -> Iterator[None]:
    """No process outlives the block."""
    try:
        yield
    finally:
        for process in running:
            process.stop()


def default_jobs(num_cores: int, has_gpu: bool) -> int:
    """Runs at a time: small ones gain more from company than from threads; a GPU is not shared.

    Example:
        >>> default_jobs(4, has_gpu=False), default_jobs(64, has_gpu=False), default_jobs(64, True)
        (4, 8, 1)
    """
    return 1 if has_gpu else min(8, num_cores)


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
