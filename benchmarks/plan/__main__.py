"""The command."""

import argparse
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from benchmarks.plan.cases import CASES, case_config
from benchmarks.plan.measured import Took, planned, really_run
from benchmarks.plan.table import table
from dids.atomic import read_json, write_json

T = TypeVar("T")


def main() -> None:
    """Plan every case a few times and run it, each in a process of its own; print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--clock", default="cpu", choices=["cpu", "wall"])
    parser.add_argument("--plans", type=int, default=3, help="of each case, one after the other")
    parser.add_argument(
        "--kept", type=Path, help="folder where what runs took is kept, to plan them again"
    )
    arguments = parser.parse_args()
    for name in arguments.cases:
        with TemporaryDirectory() as folder:
            config = case_config(name, Path(folder))
            plans = [
                _in_a_process(planned, config, arguments.clock) for _ in range(arguments.plans)
            ]
            run = _run(config, arguments.clock, name, arguments.kept)
        print(f"### {name}\n\n{table(plans, run)}\n", flush=True)


def _run(config: Path, clock: str, name: str, kept: Path | None) -> Took:
    """What the run takes, or took when it was kept."""
    path = None if kept is None else kept / f"{clock}-{list(CASES).index(name)}.json"
    if path is not None and path.exists():
        known: Took = read_json(path)
        return known
    took = _in_a_process(really_run, config, clock)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, took)
    return took


def _in_a_process(work: Callable[[Path, str], T], path: Path, clock: str) -> T:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (path, clock))


if __name__ == "__main__":
    main()
