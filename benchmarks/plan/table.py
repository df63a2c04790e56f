"""The table: predicted, real, and their ratio."""

from benchmarks.plan.measured import Took

_LEAST_S = 1.0
"""Stages that take less are not held to the 25 %."""


def table(plan: Took, plan_s: float, plan_cpu_s: float, run: Took) -> str:
    """Markdown, a row a stage; stages that the plan leaves out are left out."""
    lines = [
        f"The plan took {plan_cpu_s:.0f} s of processor time, {plan_s:.0f} s on the wall.",
        "",
        "| stage | time, s: plan, run | ratio | memory, MB: plan, run | ratio "
        "| disk, MB: plan, run | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage, said in plan.items():
        lines.append(_row(stage, said, run[stage]))
    both = [[plan[stage] for stage in plan], [run[stage] for stage in plan]]
    totals = [
        [sum(each[0] for each in rows), max(each[1] for each in rows), sum(e[2] for e in rows)]
        for rows in both
    ]
    return "\n".join([*lines, _row("**in all**", *totals)])


def _row(name: str, said: list[float], took: list[float]) -> str:
    time_ratio = said[0] / took[0] if took[0] >= _LEAST_S else None
    cells = [
        f"{said[0]:.1f}, {took[0]:.1f}",
        "" if time_ratio is None else f"{time_ratio:.2f}",
        f"{said[1] / 1e6:,.0f}, {took[1] / 1e6:,.0f}",
        f"{said[1] / took[1]:.2f}",
        f"{said[2] / 1e6:,.2f}, {took[2] / 1e6:,.2f}",
        f"{said[2] / took[2]:.2f}" if took[2] >= 1e5 else "",
    ]
    return f"| {name} | {' | '.join(cells)} |"
