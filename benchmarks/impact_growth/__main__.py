"""The command."""

import argparse
import multiprocessing

import numpy as np

from benchmarks.impact_growth.rows import ROWS, measured_row


def main() -> None:
    """Print a line for every row and size, and the slope of its cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 200, 500, 1000])
    sizes = parser.parse_args().sizes
    print(f"| row | {' | '.join(f'{size:,} domains' for size in sizes)} | slope | memory |")
    print("|---|" + "---|" * (len(sizes) + 2))
    for name in ROWS:
        measured = [_in_a_process(name, size) for size in sizes]
        seconds = [elapsed_s for elapsed_s, _ in measured]
        slope = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
        cells = " | ".join(f"{elapsed_s:.2f} s" for elapsed_s in seconds)
        print(f"| {name} | {cells} | {slope:.2f} | {measured[-1][1]:.0f} MB |", flush=True)


def _in_a_process(name: str, size: int) -> tuple[float, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured_row, (name, size))


if __name__ == "__main__":
    main()
