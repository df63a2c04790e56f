"""The command."""

import argparse
from pathlib import Path

import torch

from benchmarks.fidelity.corpora import CORPORA
from benchmarks.fidelity.estimators import ESTIMATORS
from benchmarks.fidelity.one_run import Protocol, measured_run
from benchmarks.fidelity.table import stage_table, summary_table
from dids.atomic import read_json, write_json


def main() -> None:
    """Measure what is not measured yet, then print the tables of everything that is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="token files, models, results")
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=list(CORPORA))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    protocol = Protocol()
    runs = []
    for seed in range(arguments.seeds):
        for corpus in arguments.corpora:
            result = arguments.work / f"{corpus}-{seed}.json"
            if not result.exists():
                folder = arguments.work / f"run-{corpus}-{seed}"
                write_json(result, measured_run(corpus, seed, folder, protocol))
            runs.append(read_json(result))
    for horizon in protocol.horizons:
        print(f"\n{horizon} steps on each domain alone, ρ (± over {arguments.seeds} seeds)\n")
        print(summary_table(runs, str(horizon)))
    for name in list(ESTIMATORS)[:1]:
        print(f"\n{name}, by checkpoint\n")
        print(stage_table(runs, name))


if __name__ == "__main__":
    main()
