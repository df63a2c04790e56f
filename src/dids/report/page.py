"""The page of one run."""

import json
from pathlib import Path
from typing import Any

import yaml

from dids.atomic import write_text
from dids.report import (
    against_control,
    alarms,
    charts,
    evidence,
    order,
    reasons,
    steering,
    story,
    tables,
)
from dids.report.groups import source_groups
from dids.report.html import html_page
from dids.report.record import RunRecord

MAX_LISTED = 50
# skipped records shown a source; the full list is in the run folder
MAX_MOVES = 8
# reasons shown at once; the rest waits behind a click


def write_report(path: Path, run: RunRecord) -> None:
    """Write the report of a run as one HTML file.

    Args:
        path: Where to; replaced if it exists, and never left half-written.
        run: What to show.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, report_html(run))


def report_html(run: RunRecord) -> str:
    """The report of a run as HTML.

    Args:
        run: What to show.

    Returns:
        The document.
    """
    groups = source_groups(run)
    comparisons = against_control.task_comparisons(run)
    rows = tables.domain_rows(run, groups)
    values = {
        "run": run,
        "headline": story.headline(run),
        "sentences": story.story(run),
        "stability": story.stability(run),
        "groups": groups,
        "comparisons": comparisons,
        "mean": against_control.mean_loss(comparisons),
        "heat": tables.heat_map(run, groups),
        "order": order.order_map(run, groups),
        "harms": evidence.harms(run),
        "domain_rows": rows,
        "moved": tables.moved(rows),
        "max_moves": MAX_MOVES,
        "waiting": reasons.waiting_tasks(run),
        "token_uses": tables.token_uses(run, groups),
        "steering_section": steering.steering_section(run),
        "stage_times": tables.stage_times(run),
        "alarms": alarms.alarms(run),
        "warnings": [*_unsaid(run), *alarms.poor_fits(run), *reasons.held_mixtures(run)],
        "num_bad_records": sum(len(records) for records in run.bad_records.values()),
        "max_listed": MAX_LISTED,
        "config_yaml": yaml.safe_dump(_plain(run.config), sort_keys=False, allow_unicode=True),
        "chart_data": {
            "mixture": charts.mixture_chart(run, groups),
            "losses": charts.loss_charts(run),
            "map": charts.map_chart(run, groups),
            "control": run.control.policy if run.control else None,
        },
    }
    return html_page("run.html.jinja", "run.js", values)


def _unsaid(run: RunRecord) -> list[str]:
    """Warnings of the run that the check of its data has not given already."""
    said = {finding.sentence for finding in run.findings}
    return [warning for warning in run.warnings if warning not in said]


def _plain(values: Any) -> Any:  # noqa: ANN401 (any config)
    """The same values as YAML knows them: tuples as lists, paths as text."""
    return json.loads(json.dumps(values, default=str))
