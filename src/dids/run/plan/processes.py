"""What is left of a stage's work for one of several processes that share it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dids.run.plan.calibration import Rehearsed
from dids.training.checkpoints import complete_checkpoints

_OPTIMIZER, _WEIGHTS = "optimizer.pt", "model*.safetensors"


def longest_s(pieces_s: Sequence[float], num_processes: int) -> float:
    """How long the busiest process works, if each takes the next piece when it has done one.

    Example:
        >>> longest_s([3.0, 1.0, 1.0, 2.0], num_processes=2)
        4.0
    """
    busy_s = [0.0] * num_processes
    for piece_s in pieces_s:
        free = busy_s.index(min(busy_s))
        busy_s[free] += piece_s
    return max(busy_s)


def busiest_share(num_shards: int, num_processes: int) -> float:
    """Part of the shards, all of one size, that the busiest process takes.

    Example:
        >>> busiest_share(7, num_processes=4)
        0.2857142857142857
    """
    num_shards = max(1, num_shards)
    return math.ceil(num_shards / num_processes) / num_shards


def without_shards_of_others(took: Rehearsed, folder: Path, num_processes: int) -> Rehearsed:
    """What a training takes on the GPU where its parameters are sharded over processes.

    Weights, their gradients and the optimizer's state are divided; what a checkpoint holds says how
    large they are. A layer that is gathered while it computes is left out.

    Args:
        took: The training on one process, nothing sharded.
        folder: Of that training, with a checkpoint in it.
        num_processes: That share them.
    """
    files = [file for newest in complete_checkpoints(folder)[-1:] for file in newest.iterdir()]
    weights = sum(file.stat().st_size for file in files if file.match(_WEIGHTS))
    state = sum(file.stat().st_size for file in files if file.name == _OPTIMIZER)
    divided = 2 * weights + state
    others = divided * (1.0 - 1.0 / num_processes)
    return replace(took, device_bytes=max(0, round(took.device_bytes - others)))
