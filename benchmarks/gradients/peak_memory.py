"""Peak memory of one row, in a process that does nothing else.

``python -m benchmarks.gradients.peak_memory FOLDER (ROW | samples:N)`` prints megabytes before the
first batch and at the peak: resident memory, or what PyTorch took on a GPU.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.gradients.measured import Measured
from benchmarks.gradients.own_rows import fitted
from benchmarks.gradients.rows import ROWS
from benchmarks.gradients.subject import Batch, Subject, load_subject
from benchmarks.gradients.timing import progress
from dids.gradients import FeatureStore, compute_features
from dids.run.memory import keep_freed_memory

NUM_BATCHES = 3
NUM_PROCESSES = 2
"""Of which the smaller peak counts: what the allocator leaves unused varies by 3 %."""
SHORT_TOKENS = 64
"""Length of the samples whose number grows."""


def note_memory(results: Sequence[Measured], subject: Subject) -> None:
    """Measure every row that works."""
    for result in results:
        if result.problem is None:
            progress(f"memory: {result.row.name}")
            found = _in_a_process(subject, result.row.name)
            if found is not None:
                result.loaded_mb, result.peak_mb = found


def peak_by_samples(subject: Subject, counts: Sequence[int]) -> dict[int, float | None]:
    """Peak megabytes of `compute_features` over so many samples."""
    peaks: dict[int, float | None] = {}
    for count in counts:
        progress(f"memory: {count} samples")
        found = [_in_a_process(subject, f"samples:{count}") for _ in range(NUM_PROCESSES)]
        peaks[count] = min((known[1] for known in found if known is not None), default=None)
    return peaks


def _in_a_process(subject: Subject, what: str) -> tuple[float, float] | None:
    command = [sys.executable, "-m", "benchmarks.gradients.peak_memory", str(subject.folder), what]
    command += ["--sequences", str(subject.num_sequences), "--device", str(subject.device)]
    command += ["--threads", str(torch.get_num_threads())]
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        progress(f"  no memory of {what}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return None
    found = json.loads(done.stdout.splitlines()[-1])
    return found["loaded_mb"], found["peak_mb"]


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("what")
    parser.add_argument("--sequences", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    loaded = load_subject(arguments.folder, arguments.sequences, arguments.device)
    subject = replace(loaded, is_for_one_row=True)
    if arguments.what.startswith("samples:"):
        loaded_mb = _memory_mb(subject.device)
        _features_of_many(subject, int(arguments.what.removeprefix("samples:")))
    else:
        step = next(row for row in ROWS if row.name == arguments.what).prepared(subject)
        loaded_mb = _memory_mb(subject.device)
        for batch in subject.batches[:NUM_BATCHES]:
            step(batch)
    print(json.dumps({"loaded_mb": loaded_mb, "peak_mb": _memory_mb(subject.device)}))


def _memory_mb(device: torch.device) -> float:
    """The most so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    # On Linux ru_maxrss starts at what the parent process had: every row showed the parent's peak.
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**10
    in_bytes = sys.platform == "darwin"
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if in_bytes else 2**10)


class _Many:
    """Short samples, as many as asked for, made as they are read."""

    def __init__(self, subject: Subject, count: int) -> None:
        self.ids_nt = torch.cat([batch["input_ids"] for batch in subject.batches]).cpu()
        self.num_tokens = min(SHORT_TOKENS, self.ids_nt.shape[1])
        self.lengths = np.full(count, self.num_tokens)

    def __getitem__(self, index: int, /) -> Mapping[str, Tensor]:
        return {"input_ids": self.ids_nt[index % len(self.ids_nt), : self.num_tokens]}


def _collated(items: list[Mapping[str, Tensor]]) -> Batch:
    ids_bt = torch.stack([item["input_ids"] for item in items])
    return {"input_ids": ids_bt, "labels": ids_bt}


def _features_of_many(subject: Subject, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        projection = fitted(subject, subject.model, 1024)
        store = FeatureStore.create(
            Path(folder), projection.key, count, projection.dim, shard_size=64
        )
        compute_features(
            subject.model,
            _Many(subject, count),
            _collated,
            projection,
            store,
            batch_tokens=subject.batch_tokens,
            device=subject.device,
        )


if __name__ == "__main__":
    _main()
