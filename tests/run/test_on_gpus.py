"""``dids run`` on two processes over NCCL: the result of one process, in every kind of training.

Where there is one GPU, both are on it: they are started as on two machines, and NCCL, which lets
two processes of one machine share none, is told that they are.
"""

import os
import subprocess
import sys

import pytest
import torch
from launched import on_two_machines
from test_run_on_several_ranks import (
    CHECKPOINTED,
    LORA,
    assert_cosines_close,
    config_in,
    outcome,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TRAINING = {"per_device_train_batch_size": 2, "learning_rate": 0.01, "logging_steps": 5}
BFLOAT16 = {"bf16": True, "gradient_checkpointing": True}
KINDS = {
    "plain": {"training": TRAINING},
    "gradient checkpointing": {"training": CHECKPOINTED},
    "bfloat16": {"training": {**TRAINING, **BFLOAT16}},
    "adapters": {"model": LORA, "training": TRAINING},
    "shards": {"training": {**TRAINING, "fsdp": True}},
    "shards in bfloat16": {"training": {**TRAINING, **BFLOAT16, "fsdp": True}},
    "adapters in shards": {"model": LORA, "training": {**TRAINING, "fsdp": True}},
}


def started(config, *launcher):
    return subprocess.run(
        [sys.executable, *launcher, "-m", "dids", "train", str(config)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def trained_by_one(config):
    ended = started(config)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def trained_by_two(config):
    if torch.cuda.device_count() > 1:
        ended = started(config, "-m", "torch.distributed.run", "--nproc-per-node", "2")
        assert ended.returncode == 0, ended.stdout + ended.stderr
    else:
        on_two_machines(
            config,
            lambda number: {
                "NCCL_HOSTID": f"machine-{number}",
                "NCCL_SOCKET_IFNAME": "lo",
                "NCCL_IB_DISABLE": "1",
            },
        )


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_over_nccl_train_and_measure_as_one(tmp_path, kind):
    if "adapters" in kind:
        pytest.importorskip("peft")
    found = []
    for train in (trained_by_one, trained_by_two):
        folder = tmp_path / train.__name__
        folder.mkdir()
        train(config_in(folder, **KINDS[kind]))
        found.append(outcome(folder))
    one, two = found
    is_coarse = "bfloat16" in kind
    close = {"rtol": 0.05, "atol": 0.05} if is_coarse else {"rtol": 1e-3, "atol": 1e-3}
    assert len(one["impact"]) == len(two["impact"]) == 3
    assert_cosines_close(two, one, **close)
    if not is_coarse:
        assert one["mixture"] == two["mixture"]
        assert one["drawn"] == two["drawn"]
        for name, tensor in one["model"].items():
            torch.testing.assert_close(two["model"][name], tensor, rtol=1e-3, atol=1e-4)
