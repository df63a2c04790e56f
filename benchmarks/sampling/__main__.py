"""The command: ``python -m benchmarks.sampling`` prints the tables of docs/benchmarks.md."""

import argparse
import platform
import resource
import time
from importlib import metadata
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.sampling.corpus import Corpus, written_corpus
from benchmarks.sampling.measured import (
    DRAWS,
    Measured,
    independent_distance,
    measured_rows,
    own_distance,
    perfect_distance,
    planning_ms,
)
from benchmarks.sampling.rivals import RIVALS
from benchmarks.sampling.rows import OWN_ROWS
from dids.sampling import MixtureSampler

_PACKAGES = (
    "torch", "torchvision", "numpy", "datasets", "torchdata", "litdata", "grain",
    "mosaicml-streaming",
)  # fmt: skip


def main() -> None:
    """Write the data, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/sampling"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=20_000, help="samples of a row and round")
    parser.add_argument("--row-seconds", type=float, default=2.0, help="at most, a row and round")
    parser.add_argument("--domains", type=int, nargs="*", default=[16, 1000])
    parser.add_argument("--only", nargs="*", default=None, help="words in the rows' names")
    parser.add_argument("--ids", type=int, default=0, help="measure memory over so many sample ids")
    arguments = parser.parse_args()
    print(_where(), "\n", flush=True)
    rows = OWN_ROWS | RIVALS
    if arguments.only is not None:
        rows = {n: row for n, row in rows.items() if any(word in n for word in arguments.only)}
    for num_domains in arguments.domains:
        samples = 4096 if num_domains < 100 else 64
        corpus = written_corpus(arguments.work, num_domains, samples, 512)
        print(f"**{num_domains:,} domains of {samples:,} samples of 512 tokens**\n")
        print("| loader | samples/s (range) | of the floor (range) | TV at 1 k | TV at 20 k |")
        print("|---|---|---|---|---|")
        found = measured_rows(
            corpus, rows, arguments.rounds, arguments.draws, arguments.row_seconds
        )
        for name, measured in found.items():
            print(_line(name, measured), flush=True)
        print()
        _print_planning(corpus)
        _print_closeness(corpus)
    if arguments.ids:
        _print_memory(arguments.ids)


def _line(name: str, row: Measured) -> str:
    if row.problem is not None:
        return f"| {name} | {row.problem} | – | – | – |"
    distances = [f"{row.distances[n]:.4f}" if n in row.distances else "–" for n in DRAWS]
    if name.startswith("floor"):
        distances = ["–", "–"]
    speeds, ratios = sorted(row.speeds), sorted(row.ratios)
    return (
        f"| {name} | {median(speeds):,.0f} ({speeds[0]:,.0f}–{speeds[-1]:,.0f}) "
        f"| {median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f}) | {' | '.join(distances)} |"
    )


def _print_planning(corpus: Corpus) -> None:
    print("| planning | ms a step (range) |\n|---|---|")
    for batch_size in (64, 512, 4096):
        times = sorted(planning_ms(corpus, batch_size, 10 * 512))
        print(
            f"| {batch_size:,} samples, {corpus.num_domains:,} domains "
            f"| {median(times):.3f} ({times[0]:.3f}–{times[-1]:.3f}) |"
        )
    print(flush=True)


def _print_closeness(corpus: Corpus) -> None:
    """How many times closer than independent draws we are, and whole samples can be."""
    columns = "".join(f" after {draws:,} draws | times closer |" for draws in DRAWS)
    print(f"| mean total variation, {corpus.num_domains:,} domains |{columns}")
    print("|---|---|---|---|---|")
    theirs = [independent_distance(corpus.mixture_k, draws) for draws in DRAWS]
    rows = {
        "independent draws": theirs,
        "ours, in steps of 100": [own_distance(corpus, draws) for draws in DRAWS],
        "perfect rounding": [perfect_distance(corpus.mixture_k, draws) for draws in DRAWS],
    }
    for name, distances in rows.items():
        cells = [f"{d:.5f} | {t / d:.1f}" for d, t in zip(distances, theirs, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")
    print(flush=True)


def _print_memory(num_ids: int) -> None:
    """Peak memory of the process while ids of two domains of 10⁹ samples are generated."""
    sampler = MixtureSampler(
        [range(10**9), range(10**9, 2 * 10**9)], 512, batch_size=1 << 14, seed=0,
        mixture=[0.3, 0.7],
    )  # fmt: skip
    print("| sample ids generated | peak memory, MB | s |\n|---|---|---|")
    began, mark, last = time.perf_counter(), 10**6, np.zeros(0)
    for step in range(-(-num_ids // sampler.batch_size)):
        last = sampler.plan(step)
        done = (step + 1) * sampler.batch_size
        if done >= mark or done >= num_ids:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"| {done:,} | {peak:.0f} | {time.perf_counter() - began:.0f} |", flush=True)
            mark *= 10
    assert len(last) == sampler.batch_size


def _where() -> str:
    # Of two versions on the path the first is imported.
    found = reversed(list(metadata.distributions()))
    installed = {str(d.metadata["Name"]).lower(): d.version for d in found}
    versions = [f"{name} {installed[name]}" for name in _PACKAGES if name in installed]
    return f"python {platform.python_version()}, {', '.join(versions)}; {platform.machine()}"


if __name__ == "__main__":
    main()
