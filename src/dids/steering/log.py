"""The run's own record of how it was steered: what held from which round, and what was refused.

A round that was decided stays decided: a run that is killed and goes on repeats it from here,
whatever the file says by then.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dids.atomic import read_json, write_json
from dids.config.steering import Steering
from dids.steering.changes import changes


@dataclass(frozen=True, order=True)
class Moment:
    """When a steering is looked up: at a round's beginning, and after domains were regrouped.

    Attributes:
        grouping: How often the run's domains were regrouped before.
        round: Number of the round that begins.
    """

    grouping: int
    round: int


class SteeringLog:
    """What held from which moment on.

    Args:
        path: Where it is kept; read if it is there. None: nowhere, on ranks that do not write.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._decided: Moment | None = None
        self._entries: list[dict[str, Any]] = []
        self._refused: list[dict[str, Any]] = []
        if path is not None and path.exists():
            saved = read_json(path)
            self._decided = Moment(**saved["decided"])
            self._entries, self._refused = saved["entries"], saved["refused"]

    def recorded(self, moment: Moment) -> Steering | None:
        """What was decided for a moment; None if nothing was yet."""
        if self._decided is None or moment > self._decided:
            return None
        held = [
            entry for entry in self._entries
            if entry["grouping"] == moment.grouping and entry["round"] <= moment.round
        ]  # fmt: skip
        return Steering.from_json(held[-1]["steering"]) if held else None

    def first(self, grouping: int) -> Steering | None:
        """What held when the domains became what they are; None if nothing was decided since."""
        found = [entry for entry in self._entries if entry["grouping"] == grouping]
        return Steering.from_json(found[0]["steering"]) if found else None

    def last(self) -> Steering | None:
        """What was decided last; None if nothing was."""
        return Steering.from_json(self._entries[-1]["steering"]) if self._entries else None

    def decide(self, moment: Moment, steering: Steering, *, step: int, tokens: int) -> None:
        """Record what holds from a moment on, before anything follows from it."""
        before = Steering.from_json(self._entries[-1]["steering"]) if self._entries else steering
        found = [change.to_json() for change in changes(before, steering)]
        is_first = not self._entries or self._entries[-1]["grouping"] != moment.grouping
        if found or is_first:
            self._entries.append(
                {
                    "grouping": moment.grouping,
                    "round": moment.round,
                    "step": step,
                    "tokens": tokens,
                    "changes": found,
                    "steering": steering.to_json(),
                }
            )
        self._decided = moment
        self._write()

    def refuse(self, moment: Moment, sentence: str) -> None:
        """Record an edit that was not taken."""
        self._refused.append({"round": moment.round, "sentence": sentence})
        if self._decided is not None:
            self._write()

    def account(self) -> dict[str, Any]:
        """Changes and refusals, for ``result.json``."""
        names = ("round", "step", "tokens", "changes")
        return {
            "changes": [
                {name: entry[name] for name in names} for entry in self._entries if entry["changes"]
            ],
            "refused": self._refused,
        }

    def _write(self) -> None:
        if self.path is not None and self._decided is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(
                self.path,
                {
                    "decided": vars(self._decided),
                    "entries": self._entries,
                    "refused": self._refused,
                },
            )
