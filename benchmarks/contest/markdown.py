"""The table of all settings, for the documentation."""

from collections.abc import Mapping
from typing import Any

from dids.report.numbers import percent_text


def markdown(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A row an entrant: change of the mean loss against the baseline, and gap closed, by setting.

    Args:
        results: What ``compare.json`` holds, by setting.
    """
    names = list(dict.fromkeys(name for result in results.values() for name in result["ranking"]))
    changes = {
        name: [_change(result, name) for result in results.values()]
        for name in sorted(names, key=lambda name: _mean_change(results, name))
    }
    lines = [
        "| | " + " | ".join(f"{setting}: loss, gap closed" for setting in results) + " |",
        "|---" * (len(results) + 1) + "|",
    ]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in changes.items()]
    return "\n".join(lines)


def _change(result: Mapping[str, Any], name: str) -> str:
    standing = _standing(result, name)
    if standing is None:
        return "–"
    gap = standing["gap_closed"]
    text = percent_text(_relative(result, name), signed=True)
    return text if gap is None else f"{text}, {percent_text(gap['mean'], digits=0)}"


def _relative(result: Mapping[str, Any], name: str) -> float:
    """The difference of the mean loss to the baseline's, as a fraction of the baseline's."""
    standing = _standing(result, name)
    assert standing is not None
    difference: float = standing["difference"]["mean"]
    return difference / (float(standing["loss"]["mean"]) - difference)


def _mean_change(results: Mapping[str, Mapping[str, Any]], name: str) -> float:
    known = [_relative(r, name) for r in results.values() if _standing(r, name) is not None]
    return sum(known) / len(known)


def _standing(result: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    standing: Mapping[str, Any] | None = result["entrants"].get(name, {}).get("standing")
    return standing
