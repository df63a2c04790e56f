"""One stage of a run, in a process that does nothing else."""

import resource
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dids.config import load_config
from dids.gradients.feature_store import FeatureStore
from dids.run import features
from dids.run.folder import RunFolder
from dids.run.plan.calibration import folder_bytes
from dids.run.plan.peak_memory import PeakMemory
from dids.run.plan.stage_clock import StageClock
from dids.run.stages import STAGES
from dids.run.workspace import Progress, Workspace

STAGES_GROWN = (
    "check", "tokenizer", "tokens", "proxy", "features", "domains", "impact", "train", "control",
    "evaluate", "report",
)  # fmt: skip
_CENTRES = 400


@dataclass(frozen=True)
class Taken:
    """What a stage took.

    Attributes:
        time_s: Of the processor.
        peak_mb: ``ru_maxrss``, mapped files included.
        own_mb: At the peak, without mapped files.
        before_mb: The same before the stage: libraries.
        disk_mb: Of what it left.
    """

    time_s: float
    peak_mb: float
    own_mb: float
    before_mb: float
    disk_mb: float


def take(config_path: Path, stage: str) -> Taken:
    """Do a stage whose predecessors are done; features are made up first."""
    torch.set_num_threads(1)
    config = load_config(config_path)
    folder = RunFolder(Path(config.run))
    progress: Progress = StageClock()
    folder.prepare(config)
    work = Workspace(config, folder, progress)
    if stage == "features":
        _make_features_up(work)
    disk = folder_bytes(folder.path)
    with PeakMemory() as before:
        pass
    with PeakMemory() as peak:
        began_s = time.process_time()
        facts = STAGES[stage](work)
        time_s = time.process_time() - began_s
    folder.mark_done(stage, elapsed_s=time_s, **facts)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    left = folder_bytes(folder.path) - disk
    return Taken(time_s, most, peak.bytes / 1e6, before.bytes / 1e6, left / 1e6)


def _make_features_up(work: Workspace) -> None:
    """Noisy copies of centres, in the store that the stage would fill: it is left to check them."""
    key = features.feature_key(work)
    store: FeatureStore = features._store(work, key, features._needed_samples(work, key))
    generator = np.random.default_rng(0)
    centre_cd = generator.standard_normal((_CENTRES, store.dim), dtype=np.float32)
    for shard in store.missing_shards():
        rows = len(store.shard_range(shard))
        feature_nd = generator.standard_normal((rows, store.dim), dtype=np.float32)
        feature_nd += centre_cd[generator.integers(0, _CENTRES, rows)]
        store.write_shard(shard, feature_nd)
