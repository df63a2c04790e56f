"""Runs a function on several gloo ranks, forked, so that nothing is imported again."""

import json
import os
import traceback
import warnings
from pathlib import Path

import pytest
import torch


def on_ranks(folder: Path, world_size: int, function, *arguments):
    """What the function returns on each rank, as JSON brings it back."""
    if torch.cuda.is_available():
        pytest.skip("autograd's threads for a GPU do not survive a fork")
    folder.mkdir(parents=True, exist_ok=True)
    children = []
    for rank in range(world_size):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of every fork
            child = os.fork()
        if child == 0:
            _run(folder, rank, world_size, function, arguments)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    errors = [path.read_text() for path in folder.glob("error-*")]
    assert statuses == [0] * world_size, "\n".join(errors)
    return [json.loads((folder / f"result-{rank}").read_text()) for rank in range(world_size)]


def _run(folder, rank, world_size, function, arguments):
    from accelerate.state import AcceleratorState, GradientState, PartialState

    status = 1
    try:
        AcceleratorState._reset_state(True)
        PartialState._reset_state()
        GradientState._reset_state()
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size),
            "LOCAL_WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1",
        }  # fmt: skip
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
        )
        result = function(*arguments)
        (folder / f"result-{rank}").write_text(json.dumps(result))
        torch.distributed.barrier()
        status = 0
    except BaseException:
        (folder / f"error-{rank}").write_text(traceback.format_exc())
    finally:
        os._exit(status)
