"""Makes one HTML file with everything inside, safe to open offline and to show to strangers.

Every text that came from data is escaped by jinja2. The content security policy allows the scripts
by their hashes and no network at all, so a text that slipped through could neither run nor call
home.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dids.report import names, numbers


def html_page(template: str, script: str, values: Mapping[str, Any]) -> str:
    """A page from its template.

    Args:
        template: Name of a file in ``templates``, which extends ``page.html.jinja``.
        script: Name of a file in ``assets``, which draws the charts from ``chart_data``.
        values: What the template shows; ``chart_data`` among it.

    Returns:
        The document.
    """
    scripts = [get_plotlyjs(), _asset("charts.js"), _asset(script)]
    page: str = (
        _environment()
        .get_template(template)
        .render(
            **values,
            style=Markup(_asset("style.css")),
            scripts=[Markup(code) for code in scripts],
            script_policy=" ".join(_script_hash(code) for code in scripts),
        )
    )
    return page


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dids.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
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
    return environment


@cache
def _asset(name: str) -> str:
    return (files("dids.report") / "assets" / name).read_text(encoding="utf-8")


def _script_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
