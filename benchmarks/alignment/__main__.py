"""The command."""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.alignment.measured import CHAINS, TASKS, measured
from benchmarks.alignment.planted import FORMATS, NUM_TOPICS, skewed_shares

_EVEN = np.full((len(FORMATS), NUM_TOPICS), 1 / NUM_TOPICS)
_CORPORA = {
    "every format has all topics alike": ([1.0] * 4, _EVEN),
    "each format prefers topics of its own": ([1.0] * 4, skewed_shares()),
    "one format has twelve samples": ([1.0, 1.0, 1.0, 0.0], _EVEN),
}
_FEWEST = 12
_PLANTED = ("content", "format")
Found = list[dict[str, dict[str, float]]]


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
            print("\n".join([*_agreement_table(found), "", *_task_table(found)]), flush=True)


def _agreement_table(found: Found) -> list[str]:
    """A row an alignment, in Markdown: means and standard deviations over seeds."""
    lines = ["| alignment | agreement with content | with format |", "|---|---|---|"]
    for label in CHAINS:
        cells = [_spread([seed[label][column] for seed in found]) for column in _PLANTED]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def _task_table(found: Found) -> list[str]:
    """What of each task is unexplained, for the alignments that say so."""
    lines = [f"| alignment | {' | '.join(TASKS)} |", f"|---|{'---|' * len(TASKS)}"]
    for label in CHAINS:
        if "projection" in label:
            cells = [_spread([seed[label][task] for seed in found]) for task in TASKS]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values):.2f}"


if __name__ == "__main__":
    main()
