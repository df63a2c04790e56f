"""Plain JSON, for code of one's own: weights, and round by round how they came about."""

import json
from pathlib import Path
from typing import Any

from dids.errors import InputError
from dids.export.blend import Blend
from dids.export.target import (
    ImportedMixture,
    Target,
    entry,
    named_entries,
    named_weights,
    read_yaml,
)


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    del folder  # one file is all
    value: dict[str, Any] = {
        "about": list(blend.about),
        "unit": blend.unit,
        "weights": blend.named_weights(blend.stages[-1]),
        "files": {domain.name: list(domain.files) for domain in blend.domains},
    }
    if len(blend.stages) > 1:
        value["schedule"] = [
            {
                "step": blend.step_of(stage),
                "tokens": round(stage.fraction * blend.tokens),
                "weights": blend.named_weights(stage),
            }
            for stage in blend.stages
        ]
    return {"": json.dumps(value, ensure_ascii=False, indent=1) + "\n"}


def _read(path: Path) -> ImportedMixture:
    value = read_yaml(path)  # JSON is YAML
    read = named_weights(entry(value, path, "weights"), path, "weights")
    named = named_entries(value, path, "files") if value.get("files") else {}
    files = {name: tuple(places) for name, places in named.items()}
    unit = value.get("unit", "records")
    if unit not in ("records", "tokens"):
        raise InputError(f"{path}: 'unit' must be records or tokens, got {unit!r}.")
    return ImportedMixture(read, unit, files)


TARGET = Target(
    name="json",
    title="JSON",
    file_name="weights.json",
    unit="records",
    meaning="a weight is a share of the unit that the file names.",
    write=_write,
    read=_read,
    comment=None,
    takes_schedule=True,
)
