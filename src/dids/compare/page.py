"""``compare.html``: the standings as a page, in the look of a run's report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dids.atomic import write_text
from dids.compare import wording
from dids.compare.contest import Finished
from dids.compare.entrants import BASELINE, BEST_FIXED
from dids.compare.standings import Standing, whole
from dids.report.html import html_page
from dids.report.palette import HUES, Colour
from dids.report.runs_page import run_colours

_GREY = Colour("#c4c4c4", "#5a5a5a")
# of the lines that have no colour of their own


def write_page(path: Path, contest: Finished, rows: Sequence[Standing]) -> None:
    """Write the page; replaced if it exists, and never left half-written."""
    write_text(path, contest_html(contest, rows))


def contest_html(contest: Finished, rows: Sequence[Standing]) -> str:
    """The page as HTML."""
    colours = entrant_colours(rows)
    values = {
        "headline": wording.headline(rows),
        "sentences": wording.sentences(contest, rows),
        "notes": wording.notes(contest),
        "rows": rows,
        "parts": [
            {"titles": wording.QUALITY, "texts": [wording.quality_texts(row) for row in rows]},
            {"titles": wording.COST, "texts": [_cost_texts(row, contest) for row in rows]},
        ],
        "colours": colours,
        "tasks": list(rows[0].tasks),
        "lowest": {t: min(row.tasks[t].loss.mean for row in whole(rows)) for t in rows[0].tasks},
        "baseline": BASELINE,
        "best": BEST_FIXED,
        "searched": wording.tuning_lines(contest),
        "seeds": contest.seeds,
        "chart_data": {"lines": [_line(row, colours[row.entrant]) for row in rows if row.curve]},
    }
    return html_page("contest.html.jinja", "contest.js", values)


def entrant_colours(rows: Sequence[Standing]) -> dict[str, Colour]:
    """Colours for the baseline (grey) and the first ones; pale grey for the others."""
    named = [row.entrant for row in rows if row.entrant != BASELINE]
    grey, *others = run_colours(1 + min(len(named), len(HUES)))
    coloured = dict(zip(named, others, strict=False))
    return {row.entrant: coloured.get(row.entrant, _GREY) for row in rows} | {BASELINE: grey}


def _cost_texts(row: Standing, contest: Finished) -> list[str]:
    tuning_tokens = contest.settings[row.entrant].tokens
    return wording.cost_texts(row, contest.config.budget.tokens, tuning_tokens)


def _line(row: Standing, colour: Colour) -> dict[str, Any]:
    assert row.curve is not None
    return {
        "name": row.entrant,
        "light": colour.light,
        "dark": colour.dark,
        "is_pale": colour == _GREY,
        "tokens": list(row.curve.tokens),
        "mean": list(row.curve.mean),
        "sd": list(row.curve.sd),
    }
