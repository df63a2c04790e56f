"""Blends with real files, and their texts on disk."""

import json
from pathlib import Path

from dids.export.blend import Blend, BlendDomain
from dids.export.run_mixture import Stage
from dids.export.target import Target

WEIGHTS = {"code/0": 0.5, "code/1": 0.2, "prose": 0.3}
RECORDS = {"code/0": 40, "code/1": 20, "prose": 60}
SCHEDULE = (
    Stage(0.0, {"code/0": 0.25, "code/1": 0.5, "prose": 0.25}),
    Stage(0.25, {"code/0": 0.5, "code/1": 0.0, "prose": 0.5}),
    Stage(0.75, {"code/0": 0.75, "code/1": 0.125, "prose": 0.125}),
)


def record(kind: str, name: str, number: int) -> dict[str, object]:
    """A record that says which domain it is of."""
    if kind == "text":
        return {"text": f"{name} {number}"}
    if kind == "prompt":
        return {"prompt": f"{name} {number}?", "completion": f"{name} yes"}
    turns = [("user", f"{name} {number}?"), ("assistant", f"{name} yes")]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def make_blend(place: Path, *, kind: str = "text", weights=None, stages=None, **changes) -> Blend:
    """A blend of domains whose files are in a folder."""
    weights = weights or (WEIGHTS if stages is None else stages[0].weights)
    domains = []
    for name in weights:
        file = place / f"{name.replace('/', '-')}.jsonl"
        lines = [json.dumps(record(kind, name, n)) for n in range(RECORDS.get(name, 10))]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        domains.append(
            BlendDomain(
                name=name,
                stem=file.stem,
                files=(str(file),),
                kinds=(kind,),
                records=len(lines),
                tokens=10 * len(lines),
            )
        )
    settings = {
        "stages": stages or (Stage(0.0, weights),), "unit": "records", "about": ("About.",),
        "folder": str(place / "own"), "seed": 3, "steps": 1000, "batch_size": 16, "tokens": 4000,
    }  # fmt: skip
    return Blend(domains=tuple(domains), **{**settings, **changes})


def written(target: Target, blend: Blend, folder: Path) -> Path:
    """The file of a target, with what belongs beside it."""
    path = folder / target.file_name
    for name, text in target.write(blend, path.with_suffix("")).items():
        place = path if not name else path.with_suffix("") / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return path
