"""What the package promises of its gradients, each with the number that was measured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.gradients.measured import Measured
from benchmarks.gradients.row import PLAIN


@dataclass(frozen=True)
class Aim:
    """One promise."""

    text: str
    measured: str
    """The number, with its row where the text leaves it open."""
    is_met: bool | None
    """None where it was not measured."""


COST_LIMITS = {"7m": 0.90, "30m": 0.80}
"""Of features in 1,024 dimensions, in plain passes; other sizes have no limit."""


def aims_of(
    results: Sequence[Measured], size: str, peak_by_samples: Mapping[int, float | None]
) -> list[Aim]:
    """Every aim, met or not.

    Args:
        results: All rows.
        size: Of the model.
        peak_by_samples: Peak megabytes over few samples and many.
    """
    by_name = {result.row.name: result for result in results}
    small, large = by_name.get("DIDS one-sided, 1,024"), by_name.get("DIDS one-sided, 4,096")
    cast = by_name.get("DIDS one-sided, 1,024, bf16 autocast")
    fisher = by_name.get("DIDS Fisher diagonal, exact")
    aims = []
    if size in COST_LIMITS:
        limit = COST_LIMITS[size]
        text = f"1,024 dimensions at no more than {limit:.2f} of a plain pass"
        aims.append(_at_most(text, small.ratio if small else None, limit))
    aims += [
        _at_least("their cosines at a correlation of at least 0.95", _correlation(small), 0.95),
        _at_least("at 4,096 dimensions at least 0.98", _correlation(large), 0.98),
        _at_most(
            "1,024 dimensions in bf16 autocast at no more than 0.60 of the float32 plain pass",
            cast.plain_ratio if cast else None,
            0.60,
        ),
        _no_rival_cheaper_and_better(results),
        *_memory_aims(by_name, peak_by_samples),
        *_training_aims(results),
        _at_most(
            "exact Fisher diagonal at no more than 1.05 of a plain pass",
            fisher.ratio if fisher else None,
            1.05,
        ),
        _at_most(
            "equal to a loop over samples to 1e-5",
            fisher.relative_error if fisher else None,
            1e-5,
            form="{:.1e}",
        ),
    ]
    return aims


def _at_most(text: str, value: float | None, limit: float, form: str = "{:.3f}") -> Aim:
    return Aim(text, _shown(value, form), None if value is None else value <= limit)


def _at_least(text: str, value: float | None, limit: float) -> Aim:
    return Aim(text, _shown(value, "{:.3f}"), None if value is None else value >= limit)


def _shown(value: float | None, form: str) -> str:
    return "not measured" if value is None else form.format(value)


def _correlation(result: Measured | None) -> float | None:
    return None if result is None else result.correlation


def _no_rival_cheaper_and_better(results: Sequence[Measured]) -> Aim:
    """Each rival beside our float32 row of all parameters that is nearest in dimensions."""
    text = "no other library both cheaper and better at about the same dimensions"
    known = [
        result
        for result in results
        if result.row.kind == "features" and result.row.baseline == PLAIN and result.ratios
        and result.correlation is not None
    ]  # fmt: skip
    ours = [result for result in known if result.row.is_ours and result.row.covers == "all"]
    rivals = [result for result in known if not result.row.is_ours]
    if not ours or not rivals:
        return Aim(text, "not measured", None)
    ahead = [rival.row.name for rival in rivals if _is_ahead(rival, _peers(rival, ours))]
    return Aim(text, ", ".join(ahead) or f"none of {len(rivals)}", not ahead)


def _peers(rival: Measured, ours: Sequence[Measured]) -> list[Measured]:
    def distance(result: Measured) -> float:
        return abs(math.log((result.num_dims or 1) / (rival.num_dims or 1)))

    nearest = min(map(distance, ours))
    return [result for result in ours if distance(result) == nearest]


def _is_ahead(rival: Measured, peers: Sequence[Measured]) -> bool:
    """Whether a rival is cheaper and better than one of our rows, and none of ours holds it off."""
    assert rival.ratio is not None and rival.correlation is not None
    return not any(
        (peer.ratio or math.inf) <= rival.ratio or (peer.correlation or -1.0) >= rival.correlation
        for peer in peers
    )


def _memory_aims(
    by_name: Mapping[str, Measured], peak_by_samples: Mapping[int, float | None]
) -> list[Aim]:
    shares = {
        name: result.peak_mb / baseline.peak_mb
        for name, result in by_name.items()
        if result.row.is_ours
        and result.peak_mb is not None
        and (baseline := by_name.get(result.row.baseline)) is not None
        and baseline.peak_mb
    }
    worst = max(shares, key=lambda name: shares[name], default=None)
    text = "peak memory at most 1.15 of the plain pass or step (the worst of our rows)"
    aims = [Aim(text, "not measured", None)]
    if worst is not None:
        aims = [Aim(text, f"{shares[worst]:.3f}, {worst}", shares[worst] <= 1.15)]
    growth = None
    if len(peak_by_samples) > 1:
        few, many = (peak_by_samples[count] for count in sorted(peak_by_samples))
        growth = many / few if few and many else None
    text = "peak memory flat in the number of samples: eight times as many, at most 1.05"
    return [*aims, _at_most(text, growth, 1.05)]


def _training_aims(results: Sequence[Measured]) -> list[Aim]:
    ours = [result for result in results if result.row.kind == "training" and result.row.is_ours]
    return [
        _at_most(f"at most 1.08 of a training step: {result.row.name}", result.ratio, 1.08)
        for result in ours
    ]
