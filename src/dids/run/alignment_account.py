"""What an alignment says of a run's domains and tasks: how sure assignments are, what is unlike.

Axes: n samples, k domains.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dids.alignment.compact import Compact
from dids.alignment.composed import Composed, tasks_of
from dids.alignment.projection import Projection
from dids.alignment.unexplained import task_account
from dids.atomic import read_json, write_json
from dids.domains.domains import Domains
from dids.domains.feature_source import directions
from dids.domains.spherical_kmeans import CHUNK
from dids.run.alignment import fitted_alignment, task_directions
from dids.run.features import computed_features
from dids.run.workspace import Workspace

ACCOUNT_NAME = "alignment.json"
CONFIDENCE_NAME = "confidence.npy"


def write_account(work: Workspace, domains: Domains, folder: Path) -> None:
    """Write ``alignment.json`` beside the domains, with ``confidence.npy`` where there is one."""
    fitted = fitted_alignment(work)
    if fitted is None:
        return
    account: dict[str, Any] = {"names": list(fitted.names), "confidence": {}, "tasks": {}}
    raw = task_directions(work)
    for place, part in enumerate(fitted.parts):
        rows = {task: fitted.before(place, raw[task], tasks_of(raw[task])) for task in raw}
        if isinstance(part, Compact):
            confidence_n = _confidence(work, fitted, place, part)
            np.save(folder / CONFIDENCE_NAME, confidence_n, allow_pickle=False)
            account["confidence"] = {
                name: round(float(confidence_n[sample_n].mean()), 4)
                for name, sample_n in zip(domains.names, domains.samples(), strict=True)
            }
            for task, row_md in rows.items():
                sure = part.assigned(row_md).confidence_m.mean() if len(row_md) else 0.0
                account["tasks"].setdefault(task, {})["confidence"] = round(float(sure), 4)
        elif isinstance(part, Projection):
            for task, row_md in rows.items():
                found = task_account(part, row_md, list(work.sources))
                account["tasks"].setdefault(task, {}).update(
                    unexplained=found.unexplained,
                    by_source=found.by_source,
                    sentence=found.sentence(task),
                )
    write_json(folder / ACCOUNT_NAME, account)


def read_account(folder: Path) -> dict[str, Any] | None:
    """What `write_account` wrote; None where nothing was aligned."""
    path = folder / ACCOUNT_NAME
    if not path.exists():
        return None
    account: dict[str, Any] = read_json(path)
    return account


def _confidence(
    work: Workspace, fitted: Composed, place: int, part: Compact
) -> Float[np.ndarray, " n"]:
    """Of every sample's assignment to a component; 0 where it has no feature."""
    features, source_n = computed_features(work), work.dataset.source_of_sample
    confidence_n = np.zeros(len(features), dtype=np.float32)
    for start in range(0, len(features), CHUNK):
        sample_m = np.arange(start, min(start + CHUNK, len(features)))
        direction_md = directions(features, sample_m)
        before_md = fitted.before(place, direction_md, source_n[sample_m])
        confidence_m = part.assigned(before_md).confidence_m
        confidence_n[sample_m] = confidence_m * direction_md.any(axis=1)
    return confidence_n
