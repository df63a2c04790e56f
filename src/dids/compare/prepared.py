"""What the runs of a seed have in common is made once: a run takes it over by links to its files.

Folders are the run's own and only files are links, so whatever a run writes stays its own.
"""

import os
import shutil
from pathlib import Path

from dids.atomic import whole_file
from dids.run.folder import RunFolder

SHARED_STAGES = ("check", "tokenizer", "tokens", "proxy", "features", "domains")
_RESULTS = ("check.json", "tokenizer", "proxy", "features", "domains")
_IMPACT = "impact"


def take_over(prepared: RunFolder, folder: RunFolder, *, with_impact: bool) -> None:
    """Make a run folder one whose stages before training are done; what is there stays.

    Args:
        prepared: A run whose impact before training is measured.
        folder: A run folder with its config in it.
        with_impact: Whether that impact is taken over, too.
    """
    stages = (*SHARED_STAGES, _IMPACT) if with_impact else SHARED_STAGES
    if all(folder.is_done(stage) for stage in stages):
        return
    for name in (*_RESULTS, "impact.json") if with_impact else _RESULTS:
        _link(prepared.path / name, folder.path / name)
    (folder.path / "stages").mkdir(exist_ok=True)
    for stage in stages:
        mark = f"stages/{stage}.json"
        if not (folder.path / mark).exists():
            with whole_file(folder.path / mark) as unfinished:
                shutil.copy2(prepared.path / mark, unfinished)


def _link(source: Path, target: Path) -> None:
    """Links to a file, or to every file of a folder but its checkpoints'."""
    if source.is_dir():
        for entry in source.iterdir():
            if not entry.name.startswith("checkpoint-"):
                _link(entry, target / entry.name)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(source, target.parent))
