"""Starts a command in forked processes: one to be killed, or ranks as torchrun has them."""

import gc
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState

import dids.run.runner  # noqa: F401  # four seconds that every process would take by itself
from dids import cli
from dids.run.launched_ranks import launched_ranks

_TOLD_AFTER_S = 0.5  # torchrun looks now and then; meanwhile others may end for the same reason
_GRACE_S = 30.0
_PORT_BYTES = 2


@dataclass(frozen=True)
class Ended:
    """How the ranks ended: their exit statuses (negative: by a signal) and what they said."""

    statuses: list[int]
    outputs: list[str]

    @property
    def said(self) -> str:
        """Of all ranks, as one console shows it."""
        return re.sub(r"\s+", " ", " ".join(self.outputs))


def launched(num: int, *arguments, fault=None) -> Ended:
    """Run ``dids`` on ranks; ``fault(rank)`` is called in each before it begins."""
    folder = Path(str(arguments[1])).parent
    paths = [folder / f"output-{rank}" for rank in range(num)]
    children = {}
    told, tell = os.pipe()
    for rank in range(num):

        def begin(rank: int = rank) -> None:
            _become(rank, num, told)
            if fault is not None:
                fault(rank)

        children[_forked(paths[rank], arguments, begin)] = rank
    # As torchrun does: where they meet outlives every rank. Its thread looks up names, and a rank
    # forked meanwhile would wait for ever for the lock that it held.
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    os.write(tell, store.port.to_bytes(_PORT_BYTES) * num)
    statuses = _awaited(dict(children))
    os.close(told)
    os.close(tell)
    outputs = [path.read_text() if path.exists() else "" for path in paths]
    return Ended([statuses[rank] for rank in range(num)], outputs)


def _awaited(children: dict[int, int]) -> dict[int, int]:
    statuses: dict[int, int] = {}
    failed_s, is_told = None, False
    while children:
        for child, rank in list(children.items()):
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                statuses[rank] = os.waitstatus_to_exitcode(status)
                del children[child]
        if failed_s is None and any(statuses.values()):
            failed_s = time.monotonic()
        if failed_s is not None and not is_told and time.monotonic() - failed_s > _TOLD_AFTER_S:
            is_told = True
            for child in children:
                os.kill(child, signal.SIGTERM)
        if failed_s is not None and time.monotonic() - failed_s > _GRACE_S:
            for child in children:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return statuses


def killed_when(folder: Path, config: Path, is_reached: Callable[[Path], bool]) -> bool:
    """Start a run in a process of its own and kill it at a place; False if it was too fast."""
    child = _forked(folder / "output", ("run", config), lambda: None)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if is_reached(folder):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.002)
    return False


def _forked(output: Path, arguments, begin: Callable[[], None]) -> int:
    """A process that runs ``dids``, after what it begins with; its number."""
    if torch.cuda.is_available():
        pytest.skip("autograd's threads for a GPU do not survive a fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of every fork
        child = os.fork()
    if child == 0:
        _run(output, arguments, begin)
    return child


def _run(output, arguments, begin):
    status = 1
    gc.freeze()  # the Trainer collects garbage, which takes a second with all that was imported
    try:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        AcceleratorState._reset_state(True)
        GradientState._reset_state()
        launched_ranks.cache_clear()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # not that of a background job
        warnings.resetwarnings()  # a command's warnings are no errors
        # The threads that an earlier test has tokenised with are not there after a fork.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        begin()
        sys.argv = ["dids", *map(str, arguments)]
        cli.main()
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _become(rank, num, told):
    """Wait for the port where all meet, and have the environment of a rank."""
    port = int.from_bytes(os.read(told, _PORT_BYTES))
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num),
        "LOCAL_WORLD_SIZE": str(num), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip


def on_two_machines(config: Path, own_environment=None, *, grace_s: float = 300.0) -> list[str]:
    """``dids train`` by two torchruns of one process each, as on two machines; what either said.

    Args:
        config: Of the run.
        own_environment: Variables of each process, by its number.
        grace_s: How long they may take.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for number in range(2):
        own = {} if own_environment is None else own_environment(number)
        meeting = [
            "--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "1",
            "--master-addr", "127.0.0.1", "--master-port", str(port),
        ]  # fmt: skip
        processes.append(
            subprocess.Popen(
                [
                    sys.executable, "-m", "torch.distributed.run", *meeting,
                    "-m", "dids", "train", str(config),
                ],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", **own},
            )
        )  # fmt: skip
    try:
        said = [process.communicate(timeout=grace_s)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return said
