"""The table: predicted, real, and their ratio."""

from collections.abc import Sequence
from statistics import median

from benchmarks.plan.measured import Took

_LEAST_S = 1.0
"""Stages that take less are not held to the 25 %."""


def table(plans: Sequence[tuple[Took, float]], run: Took) -> str:
    """Markdown, a row a stage; stages that the plan leaves out are left out.

    Args:
        plans: Numbers of each plan of the same run, and the seconds of the processor it took.
        run: What the run took.
    """
    took = ", ".join(f"{plan_s:.0f}" for _, plan_s in plans)
    lines = [
        f"Plans took {took} s of processor time.",
        "",
        "| stage | time, s: plans, run | ratio (range) | memory, MB: plan, run | ratio "
        "| disk, MB: plan, run | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    numbers = [plan for plan, _ in plans]
    stages = list(numbers[0])
    lines += [_row(stage, [plan[stage] for plan in numbers], run[stage]) for stage in stages]
    totals = [_total([each[stage] for stage in stages]) for each in [*numbers, run]]
    return "\n".join([*lines, _row("**in all**", totals[:-1], totals[-1])])


def _total(rows: list[list[float]]) -> list[float]:
    """Times and disk add up, memory is the highest."""
    time_s, memory, disk = zip(*rows, strict=True)
    return [sum(time_s), max(memory), sum(disk)]


def _row(name: str, said: list[list[float]], took: list[float]) -> str:
    """Times of all plans with the median of their ratios; of memory and disk the median."""
    times_s = [each[0] for each in said]
    ratios = sorted(time_s / took[0] for time_s in times_s) if took[0] >= _LEAST_S else []
    memory, disk = (median(each[place] for each in said) for place in (1, 2))
    cells = [
        f"{' · '.join(f'{time_s:.1f}' for time_s in times_s)}, {took[0]:.1f}",
        f"{median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})" if ratios else "",
        f"{memory / 1e6:,.0f}, {took[1] / 1e6:,.0f}",
        f"{memory / took[1]:.2f}",
        f"{disk / 1e6:,.2f}, {took[2] / 1e6:,.2f}",
        f"{disk / took[2]:.2f}" if took[2] >= 1e5 else "",
    ]
    return f"| {name} | {' | '.join(cells)} |"
