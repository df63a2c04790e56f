"""The page: one HTML file with everything inside, safe to open offline and to show to strangers.

Every text that came from data is escaped by jinja2. The content security policy allows the two
scripts by their hashes and no network at all, so a text that slipped through could neither run nor
call home.
"""

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dids.atomic import write_text
from dids.report import (
    charts,
    comparison,
    evidence,
    names,
    numbers,
    reasons,
    steering,
    story,
    tables,
)
from dids.report.groups import source_groups
from dids.report.record import RunRecord

MAX_LISTED = 50
# skipped records shown a source; the full list is in the run folder


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
    comparisons = comparison.task_comparisons(run)
    scripts = [get_plotlyjs(), _resource("page.js")]
    page: str = _template().render(
        run=run,
        title=_title(run),
        headline=story.headline(run),
        sentences=story.story(run),
        stability=story.stability(run),
        groups=groups,
        comparisons=comparisons,
        mean=comparison.mean_loss(comparisons),
        heat=tables.heat_map(run, groups),
        harms=evidence.harms(run),
        domain_rows=tables.domain_rows(run, groups),
        steering_section=steering.steering_section(run),
        stage_times=tables.stage_times(run),
        warnings=[*comparison.alarms(run), *reasons.held_mixtures(run), *run.warnings],
        num_bad_records=sum(len(records) for records in run.bad_records.values()),
        max_listed=MAX_LISTED,
        config_yaml=yaml.safe_dump(_plain(run.config), sort_keys=False, allow_unicode=True),
        chart_data={
            "mixture": charts.mixture_chart(run, groups),
            "losses": charts.loss_charts(run),
            "control": run.control.policy if run.control else None,
        },
        style=Markup(_resource("page.css")),
        scripts=[Markup(script) for script in scripts],
        script_policy=" ".join(_script_hash(script) for script in scripts),
    )
    return page


@cache
def _template() -> Any:  # noqa: ANN401 (jinja2's Template renders to Any)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        count=numbers.count_text,
        loss=numbers.loss_text,
        impact=numbers.impact_text,
        percent=numbers.percent_text,
        duration=numbers.duration_text,
        plural=numbers.plural,
        ends=names.both_ends,
        breakable=names.breakable,
    )
    return environment.from_string(_resource("page.html.jinja"))


@cache
def _resource(name: str) -> str:
    return (files("dids.report") / name).read_text(encoding="utf-8")


def _script_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _title(run: RunRecord) -> str:
    name = run.config.get("run")
    return Path(str(name)).name if name else "run"


def _plain(values: Any) -> Any:  # noqa: ANN401 (any config)
    """The same values as YAML knows them: tuples as lists, paths as text."""
    return json.loads(json.dumps(values, default=str))
