"""A full disk is one sentence, wherever it happens, and the run goes on from there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from full_disk import STEP_KB
from test_whole_run import call, essence, result_of
from tiny_run import write_config

IN_A_NAMESPACE = ["unshare", "--map-root-user", "--mount"]


@pytest.fixture
def namespace(tmp_path):
    """How to start a program that may mount what it likes."""
    (tmp_path / "probe").mkdir()
    mount = [*IN_A_NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", tmp_path / "probe"]
    try:
        can_mount = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        can_mount = False
    if not can_mount:
        pytest.skip("this system gives no mount namespace, in which a disk can be made small")
    return IN_A_NAMESPACE


@pytest.mark.slow
def test_a_disk_that_is_full_again_and_again_changes_nothing(tmp_path, namespace, monkeypatch):
    (tmp_path / "left alone").mkdir()
    call(monkeypatch, "run", write_config(tmp_path / "left alone"))
    disk = tmp_path / "disk"
    config = write_config(tmp_path, run=str(disk / "run"))
    script = Path(__file__).parent / "full_disk.py"
    (tmp_path / "filled").mkdir()
    started = subprocess.run(
        [*namespace, sys.executable, script, config, disk, tmp_path / "filled" / "run"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert started.returncode == 0, started.stderr
    *full, last = map(json.loads, started.stdout.splitlines())
    assert last["status"] == 0
    assert last["stage"] is None
    for outcome in full:
        assert outcome["status"] == 2
        complaints = [line for line in outcome["said"].splitlines() if line.startswith("dids: ")]
        assert len(complaints) == 1
        assert "disk is full" in complaints[0]
        assert "Traceback" not in outcome["said"]
        assert outcome["unfinished"] == []
    # Wherever much is written the disk was full once.
    stopped_in = {outcome["stage"] for outcome in full}
    assert stopped_in >= {"check", "tokens", "proxy", "train", "control", "report"}
    assert STEP_KB * len(full) > 1000
    assert essence(result_of(tmp_path / "filled")) == essence(result_of(tmp_path / "left alone"))
