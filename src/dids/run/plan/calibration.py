"""What the stages are rehearsed with: a small config, its folder, a clock, and what was counted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dids.config import Config
from dids.run.counts import RunCounts
from dids.run.plan.estimate import Known, StageEstimate
from dids.run.plan.peak_memory import PeakMemory
from dids.run.plan.slices import Slice
from dids.run.plan.stage_clock import Bar, StageClock
from dids.run.plan.volumes import Volume
from dids.run.workspace import Workspace

INDEX_BYTES = 40
"""Of main memory for each training sample: its length, domain, and place among its domain's; from
100,000 to a million samples the peaks of impact, training and control grew by 24, 30 and 41."""


@dataclass(frozen=True)
class Rehearsed:
    """What a stage took here, by the clock of the calibration.

    Attributes:
        time_s: From its beginning to its end.
        memory_bytes: At the peak, of the whole process.
        device_bytes: At the peak, on the GPU.
        disk_bytes: Of what it left.
        bars: Of its progress.
        said: Lines of its progress, with when.
        ended_s: When it ended.
    """

    time_s: float
    memory_bytes: int
    device_bytes: int
    disk_bytes: int
    bars: tuple[Bar, ...]
    said: tuple[tuple[float, str], ...]
    ended_s: float

    @property
    def bars_s(self) -> float:
        """Of its bars together."""
        return sum(bar.time_s for bar in self.bars)


@dataclass
class Calibration:
    """A run in small.

    Attributes:
        config: Of the whole run.
        work: The small run.
        clock: Its progress.
        sources: What the whole sources hold, by name.
        tasks: What the tasks hold, by split and task.
        slices: What was taken of them; of tasks as ``NAME-SPLIT``.
        num_processes: Of the whole run.
        counts: Of the whole run, as soon as the small one is tokenised.
    """

    config: Config
    work: Workspace
    clock: StageClock
    sources: Mapping[str, Volume]
    tasks: Mapping[str, Mapping[str, Volume]]
    slices: Mapping[str, Slice]
    num_processes: int = 1
    counts: RunCounts | None = None

    def rehearsed(self, stage: str, do: Callable[[], Mapping[str, Any] | None]) -> Rehearsed:
        """Do a stage, see what it takes, and mark it as done.

        Args:
            stage: Its name.
            do: The stage; gives the facts to record.
        """
        before = folder_bytes(self.work.folder.path)
        self.clock.clear()
        with PeakMemory() as peak:
            began_s = self.clock.now()
            facts = do() or {}
            ended_s = self.clock.now()
        self.work.folder.mark_done(stage, elapsed_s=ended_s - began_s, **facts)
        return Rehearsed(
            ended_s - began_s,
            peak.bytes,
            peak.device_bytes,
            folder_bytes(self.work.folder.path) - before,
            tuple(self.clock.bars),
            tuple(self.clock.said),
            ended_s,
        )

    def estimate(
        self, stage: str, took: Rehearsed, time_s: Known, disk_bytes: Known, how: str
    ) -> StageEstimate:
        """What a stage will take, with memory grown by what is kept of every sample."""
        grown = 0.0
        if self.counts is not None:
            grown = INDEX_BYTES * max(0.0, self.num_samples - len(self.work.dataset))
        return StageEstimate(
            stage,
            time_s,
            Known(took.memory_bytes + grown, is_measured=grown == 0.0),
            Known(took.device_bytes, is_measured=True),
            disk_bytes,
            how,
        )

    @property
    def num_samples(self) -> int:
        """Training samples of the whole run."""
        assert self.counts is not None
        return sum(source.num_samples for source in self.counts.sources)

    @property
    def num_tokens(self) -> int:
        """Training tokens of the whole run."""
        assert self.counts is not None
        return sum(source.num_tokens for source in self.counts.sources)


def folder_bytes(folder: Path) -> int:
    """Of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
