"""The command: ``python -m benchmarks.guard`` prints the tables of docs/benchmarks.md."""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.guard.planted import NUM_LEAKED, Planted, planted_corpus
from dids.atomic import read_json

_MB = 1 << 20


def main() -> None:
    """Write the corpora, check each in a process of its own, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/guard"))
    parser.add_argument("--records", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--near", choices=["both", "on", "off"], default="both")
    parser.add_argument("--keep", action="store_true", help="keep the corpora")
    arguments = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "rensa", "torch"))
    print(f"python {platform.python_version()}, {packages}; load {os.getloadavg()[0]:.1f}\n")
    print(
        "| records | near-duplicates | records/s | CPU s | peak memory, MB | sketches, bytes a "
        "record | text, bytes a record |\n|---|---|---|---|---|---|---|"
    )
    results: list[tuple[Planted, dict[str, Any]]] = []
    for num_records in arguments.records:
        folder = arguments.work / str(num_records)
        for near in [n for n in (True, False) if arguments.near in ("both", "on" if n else "off")]:
            corpus = planted_corpus(folder, num_records, near_duplicates=near)
            result = _print_row(corpus, near)
            if near:
                results.append((corpus, result))
        if not arguments.keep:
            shutil.rmtree(folder)
    print(
        "\n| records | equal: found of planted | nearly: found of planted | decoys and clean taken "
        "for repetitions | leaks found whole, in part | harmless overlaps taken for leaks |"
        "\n|---|---|---|---|---|---|"
    )
    for corpus, result in results:
        print(_found(corpus, result))


def _print_row(corpus: Planted, near: bool) -> dict[str, Any]:
    run = corpus.config.parent / "run"
    shutil.rmtree(run, ignore_errors=True)
    began_s = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "dids", "check", str(corpus.config), "--allow-leaks"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began_s
    if status != 0:
        raise SystemExit(
            f"dids check {corpus.config} ended with {os.waitstatus_to_exitcode(status)}"
        )
    on_disk = sum(path.stat().st_size for path in (run / "check").rglob("*.npy"))
    print(
        f"| {corpus.num_records:,} | {'yes' if near else 'no'} "
        f"| {corpus.num_records / seconds:,.0f} | {usage.ru_utime + usage.ru_stime:,.0f} "
        f"| {usage.ru_maxrss * 1024 / _MB:,.0f} | {on_disk / corpus.num_records:.1f} "
        f"| {corpus.num_bytes / corpus.num_records:.0f} |",
        flush=True,
    )
    result: dict[str, Any] = read_json(run / "check.json")
    return result


def _found(corpus: Planted, result: dict[str, Any]) -> str:
    sources = {name: source["duplicates"] for name, source in result["sources"].items()}
    size = corpus.size_by_source
    false = sum(sum(sources[name].values()) for name in ("web", "decoys", "leaky"))
    leaks = {leak["kind"]: leak["items"] for leak in result["leaks"] if leak["split"] == "test"}
    wrong = sum(leaks.values()) - 2 * NUM_LEAKED
    return (
        f"| {corpus.num_records:,} | {sources['again']['exact']:,} of {size['again']:,} "
        f"| {sources['copies']['near']:,} of {size['copies']:,} "
        f"| {false:,} of {size['web'] + size['decoys'] + size['leaky']:,} "
        f"| {leaks.get('verbatim', 0)}, {leaks.get('ngrams', 0)} of {NUM_LEAKED} each "
        f"| {max(0, wrong)} of {NUM_LEAKED} |"
    )


if __name__ == "__main__":
    main()
