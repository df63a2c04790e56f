"""Watching says where a run is, from outside, and ends when the run does."""

import io
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from tiny_run import write_config

from dids import cli
from dids.atomic import write_json
from dids.config import load_config
from dids.errors import InputError
from dids.run.folder import RunFolder
from dids.run.recorded_progress import RecordedProgress
from dids.run.run_state import run_state
from dids.run.stages import STAGES
from dids.run.watch import summary_line, view, watch

NAMES = [f"d{i}" for i in range(20)]


def live(**changes):
    numbers = {
        "step": 120, "nominal_steps": 300, "tokens": 160_000, "budget_tokens": 400_000, "round": 3,
        "num_rounds": 10, "progress": 0.4, "tokens_per_s": 8_000.0, "overhead": 0.25,
        "training_loss": 4.5, "updated_s": time.time(), "is_over": False,
        "mixtures": [
            dict.fromkeys(NAMES, 0.05),
            {**dict.fromkeys(NAMES, 0.05), "d0": 0.04, "d1": 0.06},
            {**dict.fromkeys(NAMES, 0.05), "d0": 0.02, "d1": 0.08},
        ],
        "task_losses": {"sums": [6.0, 4.0, 4.5], "colours": [6.0, 5.0, 3.25]},
    }  # fmt: skip
    return {**numbers, **changes}


@pytest.fixture
def begun(tmp_path):
    """A folder whose run is in the stage ``train``; the path, and who holds the lock."""
    config = load_config(write_config(tmp_path))
    folder = RunFolder(Path(config.run))
    folder.prepare(config)
    for stage in list(STAGES)[: list(STAGES).index("train")]:
        folder.mark_done(stage, elapsed_s=1.0)
    (folder.path / "train").mkdir()
    write_json(folder.path / "train" / "live.json", live())
    write_json(
        folder.path / "progress.json",
        {"stage": "train", "title": "training", "done": 0.4, "total": 1.0,
         "began_s": time.time() - 20.0, "updated_s": time.time()},
    )  # fmt: skip
    return folder


def shown(state, width=120):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(view(state))
    return console.export_text()


def test_a_run_that_goes_on_shows_its_numbers(begun):
    with begun.locked():
        state = run_state(begun.path)
    assert (state.status, state.stage, state.fraction) == ("running", "train", 0.4)
    assert state.left_s == pytest.approx(240_000 / 8_000)
    text = shown(state, width=200)
    for said in (
        "step 120 of about 300", "160\u202fk of 400\u202fk tokens", "8,000 tokens/s",
        "round 4 of 10", "30\u202fs left", "overhead 25.0\u202f%", "8 others",
    ):  # fmt: skip
        assert said in text, said
    (row,) = [line for line in text.splitlines() if "d1 " in line]
    assert re.split(" {2,}", row)[1:4] == ["5.0\u202f%", "8.0\u202f%", "+2.0\u202f%"]
    (row,) = [line for line in text.splitlines() if "sums" in line]
    assert row.split()[-3:] == ["6.000", "4.000", "4.500"]
    assert "training, 40\u202f%, step 120" in summary_line(state)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_view_fits_its_terminal(begun, width):
    with begun.locked():
        text = shown(run_state(begun.path), width)
    assert max(map(len, text.splitlines())) <= width


def test_a_name_with_markup_is_only_a_name(begun):
    mixtures = [{"[bold]x[/bold]": 0.5, "[/nonsense]": 0.5}]
    write_json(begun.path / "train" / "live.json", live(mixtures=mixtures))
    assert "[bold]x[/bold]" in shown(run_state(begun.path))


def test_a_process_that_died_has_stopped(begun, monkeypatch, capsys):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    (begun.path / ".lock").write_text(f"{gone} {socket.gethostname()}", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["dids", "watch", str(begun.path)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        f"{begun.path}: no process works on it; {list(STAGES).index('train')} of {len(STAGES)} "
        "stages are done, it stopped in the stage train near step 120; "
        f"`dids run {begun.path}` goes on."
    )


@pytest.mark.parametrize("is_terminal", [True, False])
def test_watching_looks_again_until_nobody_works_on_the_run(begun, monkeypatch, is_terminal):
    lock = begun.path / ".lock"
    lock.write_text(f"{os.getpid()} {socket.gethostname()}", encoding="utf-8")
    waits = []

    def wait(seconds):
        waits.append(seconds)
        write_json(begun.path / "train" / "live.json", live(step=200 + len(waits)))
        if len(waits) == 3:
            lock.write_text("", encoding="utf-8")

    monkeypatch.setattr("dids.run.watch.time.sleep", wait)
    console = Console(file=io.StringIO(), width=160, force_terminal=is_terminal)
    assert watch(begun.path, console=console).status == "stopped"
    said = console.file.getvalue()
    assert len(waits) == 3
    assert "step 120 of about 300" in said
    assert ("step 202 of about 300" in said) == is_terminal  # a pipe gets a line a stage
    assert "it stopped in the stage train near step 203" in said


def test_a_process_on_another_machine_counts_until_it_lets_go(begun):
    (begun.path / ".lock").write_text("1 elsewhere", encoding="utf-8")
    assert run_state(begun.path).status == "running"
    (begun.path / ".lock").write_text("", encoding="utf-8")
    assert run_state(begun.path).status == "stopped"


def test_a_refused_process_does_not_hide_the_one_at_work(begun):
    with begun.locked():
        with pytest.raises(InputError, match="another process"), begun.locked():
            pass
        assert begun.is_worked_on
    assert not begun.is_worked_on


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="there is no run here; `dids run CONFIG` starts one"):
        watch(tmp_path / "nowhere", once=True)


def test_progress_is_written_as_it_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setattr("dids.run.recorded_progress._WRITE_EVERY_S", 0.0)
    config = load_config(write_config(tmp_path))
    folder = RunFolder(Path(config.run))
    folder.prepare(config)
    passed_on = []

    class Passing:
        def say(self, line):
            passed_on.append(line)

        def bar(self, title, total):
            from contextlib import nullcontext

            return nullcontext(passed_on.append)

    progress = RecordedProgress(Passing(), folder.path / "progress.json")
    with folder.locked():
        progress.begin("check")
        state = run_state(folder.path)
        assert (state.stage, state.fraction, state.left_s) == ("check", None, None)
        with progress.bar("reading", 10.0) as advance:
            advance(2.5)
            state = run_state(folder.path)
    progress.say("done")
    assert (state.progress["title"], state.fraction) == ("reading", 0.25)
    assert passed_on == [2.5, "done"]


def test_watching_a_real_run_ends_with_it(tmp_path):
    config = write_config(tmp_path)
    dids = [sys.executable, "-m", "dids"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*dids, "run", str(config)], env=environment, **quiet) as run:
        while not (tmp_path / "run" / "progress.json").exists():
            assert run.poll() is None
            time.sleep(0.05)
        console = Console(file=io.StringIO(), width=100)
        state = watch(tmp_path / "run", console=console)
        assert run.wait(timeout=60) == 0
    assert state.status == "done"
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("run: ")
    assert lines[-1].startswith(f"{tmp_path / 'run'}: finished. Mean test loss ")
    assert lines[-1].endswith("report.html")
