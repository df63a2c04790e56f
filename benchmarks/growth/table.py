"""The tables: a row a stage, a column a size, and the slope of time and of memory."""

from collections.abc import Mapping

import numpy as np

from benchmarks.growth.one_stage import Taken

_LEAST_S = 0.05
"""Times below it say nothing of a slope."""


def growth_table(taken: Mapping[int, Mapping[str, Taken]], what: str) -> str:
    """Markdown.

    Args:
        taken: By size, then by stage.
        what: The sizes' unit.
    """
    sizes = list(taken)
    columns = [f"{size:,} {what}" for size in sizes]
    lines = [
        f"| stage: s, MB | {' | '.join(columns)} | slope of time | slope of memory | disk, MB |",
        "|---|" + "---|" * (len(sizes) + 3),
    ]
    for stage in taken[sizes[0]]:
        row = [taken[size][stage] for size in sizes]
        cells = [f"{each.time_s:.2f}, {each.peak_mb:,.0f}" for each in row]
        times = [max(_LEAST_S, each.time_s) for each in row]
        memory = [each.peak_mb for each in row]
        cells += [f"{slope(sizes, values):.2f}" for values in (times, memory)]
        lines.append(f"| {stage} | {' | '.join(cells)} | {row[-1].disk_mb:,.1f} |")
    return "\n".join(lines)


def bytes_a_sample(taken: Mapping[int, Mapping[str, Taken]]) -> str:
    """What the peak without mapped files grows by from the second largest size to the largest."""
    *_, fewer, most = sorted(taken)
    grown = {
        stage: 1e6 * (taken[most][stage].own_mb - taken[fewer][stage].own_mb) / (most - fewer)
        for stage in taken[most]
    }
    words = ", ".join(f"{stage} {value:.0f}" for stage, value in grown.items())
    return f"Bytes of main memory a sample, from {fewer:,} to {most:,}: {words}."


def slope(sizes: list[int], values: list[float]) -> float:
    """Exponent of the power law through the points, by least squares of the logarithms."""
    return round(float(np.polyfit(np.log(sizes), np.log(values), 1)[0]), 3) + 0.0
