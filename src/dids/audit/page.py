"""``audit.html``: what impact said of every domain beside what training did, in pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from dids.atomic import write_text
from dids.audit import wording
from dids.audit.audit import Audit
from dids.report.html import html_page
from dids.report.runs_page import run_colours

PAGE_NAME = "audit.html"


def write_page(path: Path, audit: Audit) -> None:
    """Write the page; replaced if it exists, and never left half-written."""
    first, *others = wording.sentences(audit)
    values = {
        "headline": first,
        "sentences": others,
        "settings": audit.settings,
        "num_domains": len(audit.domain_names),
        "titles": wording.TITLES,
        "rows": wording.table_rows(audit),
        "metric": audit.metric,
        "tasks": audit.task_names,
        "chart_data": {
            "domains": list(audit.domain_names),
            "colour": _colour(),
            "panels": [_panel(audit, column) for column in range(len(audit.task_names))],
        },
    }
    write_text(path, html_page("audit.html.jinja", "audit.js", values))


def _panel(audit: Audit, column: int) -> dict[str, Any]:
    """Kernels in units of their own root mean square: that is all that a policy looks at."""
    kernel_k = audit.kernel_kt[audit.metric][:, column]
    size = float(np.sqrt(np.mean(kernel_k**2)))
    drop_rk = audit.drop_rkt[:, :, column]
    return {
        "task": audit.task_names[column],
        "impact": (kernel_k / size if size > 0 else kernel_k).tolist(),
        "drop": drop_rk.mean(axis=0).tolist(),
        "off": (np.abs(drop_rk[0] - drop_rk[1]) / 2).tolist(),
    }


def _colour() -> dict[str, str]:
    _, first = run_colours(2)
    return {"light": first.light, "dark": first.dark}
