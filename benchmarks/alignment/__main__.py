"""The command."""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.alignment.measured import measured
from benchmarks.alignment.planted import FORMATS, NUM_TOPICS, skewed_shares

_EVEN = np.full((len(FORMATS), NUM_TOPICS), 1 / NUM_TOPICS)
_CORPORA = {
    "every format has all topics alike": ([1.0] * 4, _EVEN),
    "each format prefers topics of its own": ([1.0] * 4, skewed_shares()),
    "one format has twelve samples": ([1.0, 1.0, 1.0, 0.0], _EVEN),
}
_FEWEST = 12


def main() -> None:
    """Measure every corpus with every seed and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=240, help="samples of a format")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=None, help="kept; without one, a temporary")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for place, (title, (share, topics)) in enumerate(_CORPORA.items()):
            sizes = [max(_FEWEST, round(part * arguments.size)) for part in share]
            found = [
                measured((arguments.work or Path(temporary)) / f"{place}-{seed}",
                         sizes, topics, seed)
                for seed in range(arguments.seeds)
            ]  # fmt: skip
            print(f"\n{title}: {sum(sizes)} samples, {arguments.seeds} seeds\n")
            print("\n".join(_table(found)), flush=True)


def _table(found: list[dict[str, dict[str, float]]]) -> list[str]:
    """Rows in Markdown: an alignment each, means and standard deviations over seeds."""
    columns = ("content", "format", "known", "strange")
    lines = [
        "| alignment | agreement with content | with format | unexplained, a known topic | "
        "unexplained, a strange one |",
        "|---|---|---|---|---|",
    ]
    for name in found[0]:
        cells = []
        for column in columns:
            values = [seed[name][column] for seed in found if column in seed[name]]
            cells.append(f"{np.mean(values):.3f} ± {np.std(values):.3f}" if values else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
