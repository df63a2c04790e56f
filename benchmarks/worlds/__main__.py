"""The command."""

import argparse
import time

from benchmarks.worlds.outcome import CONTENDERS, world_row
from benchmarks.worlds.quadratic_cases import QUADRATIC
from benchmarks.worlds.softmax_cases import SOFTMAX
from benchmarks.worlds.table import gap_table, loss_table, worst_task_table
from benchmarks.worlds.world import Budget

_KINDS = {"quadratic": QUADRATIC, "softmax": SOFTMAX}


def main() -> None:
    """Train every world under every policy, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--steps", type=int, default=200, help="of the whole run")
    parser.add_argument("--task-samples", type=int, default=16, help="of a task, every round")
    parser.add_argument("--kinds", nargs="*", default=list(_KINDS), choices=list(_KINDS))
    parser.add_argument("--worlds", nargs="*", default=None, help="names; without any, all")
    arguments = parser.parse_args()
    budget = Budget(
        num_rounds=arguments.rounds,
        steps=arguments.steps // arguments.rounds,
        task_samples=arguments.task_samples,
    )
    began_s = time.process_time()
    for kind in arguments.kinds:
        rows = [
            world_row(name, make, CONTENDERS, budget, arguments.seeds)
            for name, make in _KINDS[kind].items()
            if arguments.worlds is None or name in arguments.worlds
        ]
        if rows:
            print(f"{gap_table(f'{kind}: gap closed, %', rows)}\n")
            print(f"{loss_table(f'{kind}: loss above the best fixed, %', rows)}\n")
            print(f"{worst_task_table(f'{kind}: worst task, nats', rows)}\n", flush=True)
    elapsed_s = time.process_time() - began_s
    print(f"{budget}, {arguments.seeds} seeds, {elapsed_s:.0f} s of processor time")


if __name__ == "__main__":
    main()
