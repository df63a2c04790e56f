"""Shards on Ray Data: one block a shard, a pool of workers, and a lost worker's shard done again.

Ray Data schedules, retries, restarts workers and grows with its cluster. Workers write and read
below the run folder and the cache of tokens, so every machine must see them at the same path.
"""

import logging
import os
import pickle
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dids.errors import InputError
from dids.run.engines.engine import Advance, Shards

MAX_ATTEMPTS = 4
"""At one shard, each of which cost a worker. Ray itself begins without end, and a shard too large
for any worker's memory would never be given up."""


def on_ray(
    work: Shards[Any, Any], shards: Sequence[Any], advance: Advance
) -> Iterator[tuple[Any, Any]]:
    """Do shards on Ray: a cluster that ``RAY_ADDRESS`` names or that runs here, else this machine.

    Args:
        work: What is done to each shard.
        shards: The shards; each must fit into a worker's memory.
        advance: Told how much is done, a shard at a time.

    Yields:
        A shard and its result, as they are finished.

    Raises:
        InputError: If ray is not installed, no machine of the cluster has enough cores, a shard
            raises one, or has cost ``MAX_ATTEMPTS`` workers.
    """
    if not shards:
        return
    try:
        import ray.data
    except ImportError as error:
        raise InputError(
            "--engine ray needs the package ray, which is not installed; install it with "
            "pip install 'dids[ray]', or leave --engine out."
        ) from error
    with _connected(), _quiet():
        resources, num_slots = _resources(work)
        attempts = _attempts_here()
        outcomes = ray.data.from_items(
            [{"number": i, "shard": pickle.dumps(shard)} for i, shard in enumerate(shards)],
            override_num_blocks=len(shards),
        ).map(
            _Worker,
            fn_constructor_args=(work, resources.get("num_cpus"), attempts),
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                initial_size=min(num_slots, len(shards)),
                max_size=len(shards),
                max_tasks_in_flight_per_actor=2,  # with less the pool would not grow
            ),
            **resources,
        )
        for row in outcomes.iter_rows():
            if row["refusal"]:
                raise InputError(row["refusal"])
            advance(row["done"])
            yield shards[row["number"]], pickle.loads(row["result"])


def _attempts_here() -> Any:  # noqa: ANN401
    """A counter on this machine: another one may be lost, without which there is no run at all."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": here, "max_restarts": -1}
    return ray.remote(_Attempts).options(**options, max_task_retries=-1).remote()


class _Attempts:
    """How often each shard was begun; lives in a process of its own that outlasts the workers."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """Count one more; how many there are of this shard."""
        self.begun[number] += 1
        return self.begun[number]


class _Worker:
    """Lives in a process of Ray's and does one shard after another."""

    def __init__(self, work: Shards[Any, Any], num_threads: int | None, attempts: Any) -> None:  # noqa: ANN401
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the cores are shared out already
        if work.needs_model and num_threads is not None:
            import torch

            torch.set_num_threads(num_threads)
        self.result_of = work.opened()
        self.attempts = attempts

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        import ray

        done, result, refusal = 0, None, ""

        def advance(amount: int) -> None:
            nonlocal done
            done += amount

        shard = pickle.loads(row["shard"])
        if ray.get(self.attempts.begin.remote(row["number"])) > MAX_ATTEMPTS:
            refusal = (
                f"{MAX_ATTEMPTS} workers of Ray have died over one shard ({shard}), perhaps for "
                "want of memory (their logs say); the shards that are done stay, and the same "
                "command goes on with the rest."
            )
        else:
            try:
                result = self.result_of(shard, advance)
            except InputError as error:  # the user's to mend; done again it would be the same
                refusal = str(error)
        return {**row, "done": done, "refusal": refusal, "result": pickle.dumps(result)}


def _resources(work: Shards[Any, Any]) -> tuple[dict[str, int], int]:
    """What a worker takes, and how many there is room for.

    Where models run on CPUs a worker takes as many cores as torch takes threads here: sums are
    added up in another order on another number of threads.
    """
    import ray
    import torch

    num_gpus = int(ray.cluster_resources().get("GPU", 0))
    if work.needs_model and num_gpus > 0:
        return {"num_gpus": 1}, num_gpus
    num_cpus = torch.get_num_threads() if work.needs_model else 1
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    num_slots = sum(count // num_cpus for count in cores)
    if num_slots == 0:
        raise InputError(
            f"a worker of Ray takes {num_cpus} cores, as many as torch takes threads here, but no "
            f"machine of the cluster has more than {max(cores)}; set OMP_NUM_THREADS to that."
        )
    return {"num_cpus": num_cpus}, num_slots


@contextmanager
def _connected() -> Iterator[None]:
    """A connection to Ray: the one there is, or one that ends with the block."""
    import ray

    if ray.is_initialized():
        yield
        return
    # Ray would send statistics of its use home; that is for people to allow.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    is_main = threading.current_thread() is threading.main_thread()
    on_terminate = signal.getsignal(signal.SIGTERM)
    ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        yield
    finally:
        ray.shutdown()
        if is_main:
            signal.signal(signal.SIGTERM, on_terminate)  # Ray put its own in place


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data without its bars and notices: a run shows its own progress."""
    import ray.data

    consoles = [
        handler
        for handler in logging.getLogger("ray.data").handlers
        if isinstance(handler, logging.StreamHandler)  # its file keeps everything
    ]
    levels = [handler.level for handler in consoles]
    context = ray.data.DataContext.get_current()
    had_bars = context.enable_progress_bars
    context.enable_progress_bars = False
    for handler in consoles:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars = had_bars
        for handler, level in zip(consoles, levels, strict=True):
            handler.setLevel(level)
