"""Where a run stands, read from its folder while it goes on: nothing here writes or waits.

The files it reads are replaced whole, so what is there can be read at any moment.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dids.atomic import read_json
from dids.run.folder import RunFolder, open_run
from dids.run.recorded_progress import PROGRESS_NAME
from dids.run.stages import STAGES
from dids.training.live import LIVE_NAME

_TRAINED_IN = {"proxy": "proxy", "train": "train", "control": "control"}
"""Folders where the stages that train write what they say of themselves."""


@dataclass(frozen=True)
class LiveRun:
    """What a training run says of itself; see ``live.json`` in docs/run-folder.md."""

    name: str
    step: int
    nominal_steps: int
    tokens: int
    budget_tokens: int | None
    round: int
    num_rounds: int
    tokens_per_s: float | None
    overhead: float | None
    training_loss: float | None
    mixtures: list[dict[str, float]]
    task_losses: dict[str, list[float]]
    updated_s: float
    is_over: bool

    @property
    def left_s(self) -> float | None:
        """Seconds to the end of the budget at the present speed."""
        if self.budget_tokens is None or not self.tokens_per_s:
            return None
        return max(0, self.budget_tokens - self.tokens) / self.tokens_per_s


@dataclass(frozen=True)
class RunState:
    """A run at one moment.

    Attributes:
        path: The run folder.
        status: ``stopped`` where no process works on it although stages are missing.
        stages: Every stage and whether it is done, in order.
        stage: The one that is under way or comes next; None once all are done.
        progress: ``title``, ``done``, ``total``, ``began_s``, ``updated_s`` of what is under way;
            empty before the stage says anything.
        live: Of the newest training run.
    """

    path: Path
    status: Literal["running", "stopped", "done"]
    stages: dict[str, bool]
    stage: str | None
    progress: dict[str, Any] = field(default_factory=dict)
    live: LiveRun | None = None

    @property
    def fraction(self) -> float | None:
        """How far the stage is, from 0 to 1; None where it cannot say."""
        total = self.progress.get("total")
        return min(1.0, self.progress["done"] / total) if total else None

    @property
    def left_s(self) -> float | None:
        """Seconds to the end of what is under way."""
        if self.live is not None and self.live.name == self.stage and self.live.left_s is not None:
            return self.live.left_s
        if not self.fraction:
            return None
        spent_s = self.progress["updated_s"] - self.progress["began_s"]
        return float(spent_s * (1.0 / self.fraction - 1.0))


def run_state(path: Path) -> RunState:
    """Where the run in a folder stands.

    Args:
        path: The run folder.

    Raises:
        InputError: If there is no run at that place.
    """
    open_run(path)
    folder = RunFolder(path)
    is_worked_on = folder.is_worked_on  # first: a run that ends in between is done, not stopped
    stages = {name: folder.is_done(name) for name in STAGES}
    stage = next((name for name, is_done in stages.items() if not is_done), None)
    progress = _read(path / PROGRESS_NAME)
    is_present = stage is not None and progress.get("stage") == stage
    return RunState(
        path=path,
        status="done" if stage is None else "running" if is_worked_on else "stopped",
        stages=stages,
        stage=stage,
        progress=progress if is_present else {},
        live=_live(path, stages, stage),
    )


def _live(path: Path, stages: dict[str, bool], stage: str | None) -> LiveRun | None:
    """Of the stage under way, or of the run itself once it has trained."""
    name = _TRAINED_IN.get(stage or "") or ("train" if stages["train"] else None)
    if name is None:
        return None
    saved = _read(path / name / LIVE_NAME)
    if not saved:
        return None
    known = LiveRun.__dataclass_fields__
    return LiveRun(name=name, **{key: saved[key] for key in saved if key in known})


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read_json(path)
    except (FileNotFoundError, ValueError):  # being written, or cut off
        return {}
    return found if isinstance(found, dict) else {}
