"""A run on a disk that fills up, is enlarged a little, and fills up again, until it is done.

Started by ``test_full_disk`` in a mount namespace, where a disk of any size can be made without
being asked for permission. Arguments: config, where to mount the disk, and where to copy the run.
"""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

from dids import cli
from dids.run.stages import STAGES

FIRST_KB, STEP_KB, COARSE_FROM_KB, COARSE_STEP_KB = 4, 48, 1300, 700


def attempt(config, run):
    """Run the command line once; its status, what it said, and the stage it stopped in."""
    sys.argv = ["dids", "run", str(config)]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code
    return {
        "status": status,
        "said": said.getvalue(),
        "stage": next((s for s in STAGES if not (run / "stages" / f"{s}.json").exists()), None),
        "unfinished": [str(p.relative_to(run)) for p in run.rglob("*") if ".tmp" in p.name],
    }


def main():
    config, disk, copy = map(Path, sys.argv[1:])
    disk.mkdir()
    size_kb, options = FIRST_KB, ""
    while True:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"{options}size={size_kb}k", "tmpfs", disk], check=True
        )
        outcome = attempt(config, disk / "run")
        sys.__stdout__.write(json.dumps(outcome) + "\n")
        if outcome["status"] != 2:
            break
        size_kb += STEP_KB if size_kb < COARSE_FROM_KB else COARSE_STEP_KB
        options = "remount,"
    shutil.copytree(disk / "run", copy)


if __name__ == "__main__":
    main()
