"""The command."""

import argparse
import multiprocessing
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.growth.generated_run import write_run
from benchmarks.growth.one_stage import STAGES_GROWN, Taken, take
from benchmarks.growth.table import bytes_a_sample, growth_table


def main() -> None:
    """Make the runs, measure their stages, print a table by samples and one by domains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--domains", nargs="+", type=int, default=[10, 100, 1000])
    parser.add_argument("--stages", nargs="*", default=list(STAGES_GROWN), choices=STAGES_GROWN)
    arguments = parser.parse_args()
    middle = arguments.samples[len(arguments.samples) // 2]
    few = arguments.domains[len(arguments.domains) // 2]
    known: dict[tuple[int, int], dict[str, Taken]] = {}
    pairs = [(num, few) for num in arguments.samples] + [(middle, k) for k in arguments.domains]
    for num_samples, num_domains in dict.fromkeys(pairs):
        known[num_samples, num_domains] = _run(num_samples, num_domains, arguments.stages)
    by_samples = {num: known[num, few] for num in arguments.samples}
    if len(by_samples) > 1:
        print(f"\n{few} domains:\n\n{growth_table(by_samples, 'samples')}")
        print(f"\n{bytes_a_sample(by_samples)}", flush=True)
    by_domains = {k: known[middle, k] for k in arguments.domains}
    if len(by_domains) > 1:
        print(f"\n{middle:,} samples:\n\n{growth_table(by_domains, 'domains')}", flush=True)


def _run(num_samples: int, num_domains: int, stages: list[str]) -> dict[str, Taken]:
    taken = {}
    with TemporaryDirectory() as temporary:
        config = write_run(Path(temporary), num_samples, num_domains)
        for stage in stages:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                taken[stage] = pool.apply(take, (config, stage))
            print(f"{num_samples:,} samples, {num_domains} domains, {stage}: {taken[stage]}",
                  flush=True)  # fmt: skip
    return taken


if __name__ == "__main__":
    main()
