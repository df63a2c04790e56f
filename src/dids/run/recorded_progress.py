"""Progress for whoever looks at the run folder from outside: a file that says how far it is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dids.atomic import write_json
from dids.run.workspace import Progress

PROGRESS_NAME = "progress.json"
_WRITE_EVERY_S = 2.0
# a write waits for the disk


class RecordedProgress:
    """Passes progress on, and writes the stage and how far it is to a file.

    Args:
        progress: Where it goes.
        path: The file: ``stage``, ``title``, ``done``, ``total`` (0: not known), ``began_s`` and
            ``updated_s`` (seconds since 1970).
    """

    def __init__(self, progress: Progress, path: Path) -> None:
        self._progress = progress
        self._path = path
        self._state: dict[str, Any] = {}
        self._written_s = 0.0

    def begin(self, stage: str) -> None:
        """Say that a stage begins."""
        self._state = {"stage": stage}
        self._work(stage, 0.0)

    def say(self, line: str) -> None:
        """Pass a line on."""
        self._progress.say(line)

    @contextmanager
    def bar(self, title: str, total: float) -> Iterator[Callable[[float], None]]:
        """Pass a bar on, and write how far it is."""
        self._work(title, total)
        with self._progress.bar(title, total) as pass_on:

            def advance(amount: float) -> None:
                pass_on(amount)
                self._state["done"] += amount
                if time.monotonic() - self._written_s >= _WRITE_EVERY_S:
                    self._write()

            yield advance

    def _work(self, title: str, total: float) -> None:
        self._state |= {"title": title, "done": 0.0, "total": total, "began_s": time.time()}
        self._write()

    def _write(self) -> None:
        write_json(self._path, {**self._state, "updated_s": time.time()})
        self._written_s = time.monotonic()
