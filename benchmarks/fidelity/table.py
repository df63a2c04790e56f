"""The results as Markdown: means over seeds, with their spread."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity.estimators import ESTIMATORS
from benchmarks.fidelity.one_run import CEILING

STAGES = ("early", "middle", "late")


def summary_table(runs: Sequence[Mapping[str, Any]], horizon: str) -> str:
    """One line an estimator, for a horizon: each corpus and all together; rho ± over seeds."""
    corpora = list(dict.fromkeys(run["corpus"] for run in runs))
    lines = [
        f"| estimate | {' | '.join(corpora)} | mean ρ | of the ceiling | best named | sign |",
        "|---|" + "---|" * (len(corpora) + 4),
    ]
    ceiling = np.mean(_values(runs, horizon, CEILING, "rho"))
    for name in (CEILING, *ESTIMATORS):
        cells = [
            _spread([run for run in runs if run["corpus"] == corpus], horizon, name)
            for corpus in corpora
        ]
        rho, top1, sign = (
            float(np.mean(_values(runs, horizon, name, part))) for part in ("rho", "top1", "sign")
        )
        lines.append(
            f"| {name} | {' | '.join(cells)} | {rho:.2f} | {100 * rho / ceiling:.0f} % "
            f"| {top1:.2f} | {sign:.2f} |"
        )
    return "\n".join(lines)


def stage_table(runs: Sequence[Mapping[str, Any]], name: str) -> str:
    """One estimator by corpus, checkpoint and horizon, as a share of the ceiling there."""
    horizons = list(runs[0]["checkpoints"][0]["horizons"])
    lines = ["| corpus | checkpoint |" + "".join(f" {h} steps |" for h in horizons)]
    lines.append("|---|---|" + "---|" * len(horizons))
    for corpus in dict.fromkeys(run["corpus"] for run in runs):
        own = [run for run in runs if run["corpus"] == corpus]
        for index, stage in zip(range(len(own[0]["checkpoints"])), STAGES, strict=False):
            cells = []
            for horizon in horizons:
                rho, ceiling = (
                    np.mean([r["checkpoints"][index]["horizons"][horizon][n]["rho"] for r in own])
                    for n in (name, CEILING)
                )
                cells.append(f" {rho:.2f} of {ceiling:.2f} |")
            lines.append(f"| {corpus} | {stage} |" + "".join(cells))
    return "\n".join(lines)


def _values(runs: Sequence[Mapping[str, Any]], horizon: str, name: str, part: str) -> list[float]:
    return [
        checkpoint["horizons"][horizon][name][part]
        for run in runs
        for checkpoint in run["checkpoints"]
    ]


def _spread(runs: Sequence[Mapping[str, Any]], horizon: str, name: str) -> str:
    means = [np.mean(_values([run], horizon, name, "rho")) for run in runs]
    return f"{np.mean(means):.2f} ± {np.std(means):.2f}"
