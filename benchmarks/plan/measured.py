"""What the plan says and what the run takes, stage by stage."""

import time
from pathlib import Path

import torch

from dids.config import load_config
from dids.run.folder import RunFolder
from dids.run.memory import keep_freed_memory
from dids.run.plan.calibration import folder_bytes
from dids.run.plan.peak_memory import PeakMemory
from dids.run.plan.run_plan import run_plan
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages
from dids.run.stages import STAGES

CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}
Took = dict[str, list[float]]
"""By stage: seconds, bytes of memory at the peak, bytes left on disk."""


def planned(path: Path, clock: str) -> tuple[Took, float]:
    """The plan's numbers, and the seconds of the processor that it took."""
    _prepare()
    began_s = time.process_time()
    plan = run_plan(load_config(path), ConsoleProgress(), now=CLOCKS[clock])
    took_s = time.process_time() - began_s
    numbers = {
        each.stage: [each.time_s.value, each.memory_bytes.value, each.disk_bytes.value]
        for each in plan.stages
    }
    return numbers, took_s


def really_run(path: Path, clock: str) -> Took:
    """What each stage takes, without the look at what is there that every call begins with."""
    _prepare()
    config, now = load_config(path), CLOCKS[clock]
    folder = RunFolder(Path(config.run))
    took: Took = {}
    for stage in STAGES:
        before, began_s = folder_bytes(folder.path), now()
        with PeakMemory() as peak:
            run_stages(config, folder, ConsoleProgress(), last=stage)
        done_s = now()
        run_stages(config, folder, ConsoleProgress(), last=stage)  # nothing is left to do
        time_s = max(0.0, 2 * done_s - began_s - now())
        took[stage] = [time_s, peak.bytes, folder_bytes(folder.path) - before]
    return took


def _prepare() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
