"""The processes that torchrun or accelerate has started for one run, and what each of them does.

Most stages are the first one's work: it is then a process like any other, and the others wait on
the launcher's store, for hours if need be, or take shards of it there. Only around a stage that
trains is there a process group, which no library sees outside of it.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from dids.errors import InputError

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
# What accelerate launch says where the model is divided over processes.
_SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "parallelism",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
LOOK_EVERY_S = 0.05
"""How often a process that waits for another looks whether it has done its part."""
_HEARD_WITHIN_S = 10.0
_DEFAULT_TIMEOUT_S = 1800  # of TrainingArguments.ddp_timeout


Meanwhile = Callable[[Callable[[], bool]], None]
"""What a process does while another works; it ends soon after what it is given says to be true."""


class LostRankError(Exception):
    """Another process of the run has ended, so that this one cannot go on."""


@dataclass(eq=False)
class LaunchedRanks:
    """The processes of a run.

    Attributes:
        number: Of this process, from 0.
        num: Of processes.
        local_number: Of this process on its machine.
        num_local: Of processes on its machine.
        store: Where they meet; None for one process.
        variables: By which the launcher has said so.
        num_shared: Calls of an engine whose shards all of them could take, so far.
    """

    number: int = 0
    num: int = 1
    local_number: int = 0
    num_local: int = 1
    store: Any = None
    variables: Mapping[str, str] = field(default_factory=dict)
    num_shared: int = 0
    _num_answers: int = 0
    _num_groups: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process does what one alone does."""
        return self.number == 0

    def check(self) -> None:
        """Refuse what would come out when training begins, hours later.

        Raises:
            InputError: If a machine has fewer GPUs than processes, or the launcher would shard.
        """
        for name, what in _SHARDING.items():
            if os.environ.get(name, "").lower() in ("1", "true"):
                raise InputError(
                    f"accelerate launch was asked for {what}, but how a run divides its model "
                    "over processes stands in its config, training: {fsdp: true}, for FSDP2; "
                    "start it without."
                )
        import torch

        num_gpus = torch.cuda.device_count()
        if 0 < num_gpus < self.num_local:
            raise InputError(
                f"{self.num_local} processes were started on a machine with {num_gpus} GPUs; start "
                "as many as it has, or set CUDA_VISIBLE_DEVICES= to train on the CPU."
            )

    def from_first(self, make: Callable[[], Any], meanwhile: Meanwhile | None = None) -> Any:  # noqa: ANN401
        """What a function gives on the first rank, on every rank, however long that takes.

        Every rank must ask.

        Args:
            make: The function; what it gives is plain JSON values.
            meanwhile: What the others do. None: they wait.

        Raises:
            InputError: On every rank, if the function raised one on the first.
            LostRankError: If the process where they meet is gone.
            SystemExit: On the other ranks, if it raised anything else: the first says what.
        """
        if self.num == 1:
            return make()
        self._num_answers += 1
        key = f"answer/{self._num_answers}"
        with _peers_may_go():
            return self._told(key, make) if self.is_first else self._awaited(key, meanwhile)

    def _told(self, key: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401
        outcome: dict[str, Any] = {"is_lost": True}
        try:
            outcome = {"value": make()}
        except InputError as error:
            outcome = {"mistake": str(error)}
            raise
        finally:
            self.store.set(key, json.dumps(outcome))
            # Those that were stopped together with this one do not listen any more.
            self._wait_for_listeners(key, 1.0 if "is_lost" in outcome else _HEARD_WITHIN_S)
        return outcome["value"]

    def _wait_for_listeners(self, key: str, at_most_s: float) -> None:
        """Until the others know: where this process has the store, it ends with it."""
        given_up_s = time.monotonic() + at_most_s
        heard = [f"{key}/heard/{number}" for number in range(1, self.num)]
        while not self.store.check(heard) and time.monotonic() < given_up_s:
            time.sleep(LOOK_EVERY_S / 10)

    def _awaited(self, key: str, meanwhile: Meanwhile | None) -> Any:  # noqa: ANN401
        def is_over() -> bool:
            return bool(self.store.check([key]))

        if meanwhile is not None:
            meanwhile(is_over)
        while not is_over():
            time.sleep(LOOK_EVERY_S)
        outcome = json.loads(self.store.get(key))
        self.store.set(f"{key}/heard/{self.number}", "")
        if "is_lost" in outcome:
            raise SystemExit(1)
        if "mistake" in outcome:
            raise InputError(outcome["mistake"])
        return outcome["value"]

    def take_gpu(self) -> bool:
        """Make this process's GPU the one that ``cuda`` means; False where there is none."""
        import torch

        has_gpu = torch.cuda.is_available()
        if has_gpu:
            torch.cuda.set_device(self.local_number)
        return has_gpu

    @contextmanager
    def together(self, arguments: Mapping[str, Any]) -> Iterator[None]:
        """Inside, all ranks are one process group, for Accelerate and the Trainer to find.

        Args:
            arguments: ``TrainingArguments`` by their own names: ``ddp_timeout`` and ``ddp_backend``
                count here.

        Raises:
            LostRankError: If another rank has ended.
        """
        if self.num == 1:
            yield
            return
        import torch
        from accelerate.state import AcceleratorState
        from torch.distributed.distributed_c10d import PrefixStore

        has_gpu = self.take_gpu()
        self._num_groups += 1
        os.environ.update(self.variables)
        try:
            with _peers_may_go():
                torch.distributed.init_process_group(
                    arguments.get("ddp_backend") or ("nccl" if has_gpu else "gloo"),
                    store=PrefixStore(f"group/{self._num_groups}", self.store),
                    rank=self.number,
                    world_size=self.num,
                    timeout=timedelta(
                        seconds=float(arguments.get("ddp_timeout", _DEFAULT_TIMEOUT_S))
                    ),
                )
                self._meet("in")
                yield
                self._meet("out")
        finally:
            for name in self.variables:
                os.environ.pop(name, None)
        # Not where an error passed: the others would be waited for.
        torch.distributed.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)

    def _meet(self, where: str) -> None:
        """Wait for all: who leaves a group while others still join it or speak breaks theirs."""
        met = [f"met/{self._num_groups}/{where}/{number}" for number in range(self.num)]
        self.store.set(met[self.number], "")
        while not self.store.check(met):
            time.sleep(LOOK_EVERY_S / 10)

    def speaks(self, about: str) -> bool:
        """Whether this process is the first that has something to say about a matter."""
        try:
            return self.num == 1 or bool(self.store.add(f"said/{about}", 1) == 1)
        except RuntimeError:  # where they meet is gone
            return True


@contextmanager
def _peers_may_go() -> Iterator[None]:
    """What the libraries raise when a process on the other side has ended, as one kind of error."""
    try:
        yield
    except RuntimeError as error:
        if not _tells_of_a_lost_peer(error):
            raise
        raise LostRankError from error


def _tells_of_a_lost_peer(error: RuntimeError) -> bool:
    import torch

    # Gloo raises plain RuntimeErrors that begin with its file and line.
    return isinstance(error, torch.distributed.DistError) or "/gloo/" in str(error)


@cache
def launched_ranks() -> LaunchedRanks:
    """The processes that this one was started with.

    What the launcher has put into the environment is taken out of it: libraries would set up
    process groups by it where one process works alone.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        for name in _VARIABLES:
            os.environ.pop(name, None)
        return LaunchedRanks()
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, number, num = next(rendezvous("env://"))
    variables = {name: os.environ.pop(name) for name in _VARIABLES if name in os.environ}
    return LaunchedRanks(
        number=number,
        num=num,
        local_number=int(variables.get("LOCAL_RANK", "0")),
        num_local=int(variables.get("LOCAL_WORLD_SIZE", "1")),
        store=PrefixStore("dids", store),
        variables=variables,
    )
