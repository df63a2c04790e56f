"""The results as Markdown and as JSON."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.gradients.aims import Aim
from benchmarks.gradients.measured import Measured
from benchmarks.gradients.row import Kind

HEAD = (
    "| way | cost (range) | in float32 passes | tokens/s | dims | correlation (error) | memory |\n"
    "|---|---|---|---|---|---|---|"
)
TITLES: dict[Kind, str] = {
    "pass": "Passes",
    "features": "Features",
    "fisher": "Fisher diagonal",
    "training": "Beside training",
}


def markdown(
    results: Sequence[Measured], aims: Sequence[Aim], settings: Mapping[str, Any], batch_tokens: int
) -> str:
    """Everything, for people."""
    parts = [_settings_line(settings)]
    peaks = {result.row.name: result.peak_mb for result in results}
    for kind, title in TITLES.items():
        rows = [result for result in results if result.row.kind == kind]
        if rows:
            lines = [_line(result, peaks, batch_tokens) for result in rows]
            parts.append("\n".join([f"**{title}**", "", HEAD, *lines]))
    lines = [f"| {aim.text} | {aim.measured} | {_verdict(aim)} |" for aim in aims]
    parts.append("\n".join(["**Aims**", "", "| aim | measured | met |", "|---|---|---|", *lines]))
    return "\n\n".join(parts) + "\n"


def inserted(page: str, name: str, text: str) -> str:
    r"""A page with a table between its markers instead of what stood there.

    Args:
        page: Markdown with the lines ``<!-- NAME -->`` and ``<!-- /NAME -->``.
        name: Of the table.
        text: The table.

    Raises:
        ValueError: If there is no such place.

    Example:
        >>> inserted("<!-- a -->\nold\n<!-- /a -->", "a", "new\n")
        '<!-- a -->\nnew\n<!-- /a -->'
    """
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not begin or not end:
        raise ValueError(f"the page has no markers <!-- {name} --> and <!-- /{name} -->.")
    return before + begin + text + end + after


def as_json(
    results: Sequence[Measured], aims: Sequence[Aim], settings: Mapping[str, Any], batch_tokens: int
) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "settings": dict(settings),
        "rows": [_json_row(result, batch_tokens) for result in results],
        "aims": [asdict(aim) for aim in aims],
    }


def _settings_line(settings: Mapping[str, Any]) -> str:
    said = {
        name: ", ".join(f"{key} {part}" for key, part in value.items())
        if isinstance(value, Mapping)
        else value
        for name, value in settings.items()
    }
    return "; ".join(f"{name}: {value}" for name, value in said.items())


def _verdict(aim: Aim) -> str:
    return "–" if aim.is_met is None else "yes" if aim.is_met else "**no**"


def _line(result: Measured, peaks: Mapping[str, float | None], batch_tokens: int) -> str:
    row = result.row
    if result.problem is not None:
        return f"| {row.name} | {result.problem} | | | | | |"
    speed = result.tokens_per_second(batch_tokens)
    cells = [
        row.name,
        _with_range(result.ratios),
        _number(result.plain_ratio),
        "–" if speed is None else f"{speed:,.0f}",
        "–" if result.num_dims is None else f"{result.num_dims:,}",
        _quality(result),
        _memory(result, peaks),
    ]
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, form: str = "{:.2f}") -> str:
    return "–" if value is None else form.format(value)


def _with_range(ratios: Sequence[float]) -> str:
    if not ratios:
        return "–"
    middle = statistics.median(ratios)
    if len(ratios) == 1:
        return f"{middle:.2f} (once)"
    return f"{middle:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def _quality(result: Measured) -> str:
    if result.relative_error is not None:
        return f"relative error {result.relative_error:.0e}"
    if result.correlation is None:
        return "–"
    text = f"{result.correlation:.3f} ({result.absolute_error:.3f})"
    if result.own_correlation is not None:
        text += f"; of linear layers {result.own_correlation:.3f} ({result.own_absolute_error:.3f})"
    return text


def _memory(result: Measured, peaks: Mapping[str, float | None]) -> str:
    if result.peak_mb is None:
        return "–"
    baseline_mb = peaks.get(result.row.baseline)
    share = "" if not baseline_mb else f" ({result.peak_mb / baseline_mb:.2f})"
    return f"{result.peak_mb:,.0f} MB{share}"


def _json_row(result: Measured, batch_tokens: int) -> dict[str, Any]:
    row = result.row
    left_out = ("row", "outputs")
    return {
        "name": row.name,
        "kind": row.kind,
        "baseline": row.baseline,
        "covers": row.covers,
        "is_ours": row.is_ours,
        **{name: value for name, value in vars(result).items() if name not in left_out},
        "ratio": result.ratio,
        "plain_ratio": result.plain_ratio,
        "num_rounds": len(result.seconds),
        "tokens_per_second": result.tokens_per_second(batch_tokens),
    }
