"""What is shown of a contest: bars while it goes on, and a page that is safe and whole."""

import io
import re

from conftest import TWO
from rich.console import Console

from dids.compare import watching
from dids.compare.layout import PlannedRun
from dids.compare.watching import contest_progress
from dids.run.folder import RunFolder, open_run


def planned(folder) -> PlannedRun:
    return PlannedRun("dids, seed 0", RunFolder(folder), open_run(folder))


def shown(is_terminal: bool, run: PlannedRun, failure: str | None) -> str:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    with contest_progress("contest", 2, console) as watcher:
        watcher.look([run])
        if watcher.bars is not None:
            watcher.bars.refresh()
        watcher.ended(run, 3.0, failure)
    return console.file.getvalue()


def test_a_terminal_shows_bars_and_a_log_lines_of_a_run(finished):
    run = planned(finished.folder / "seed-0" / "dids")
    assert "dids, seed 0" in shown(True, run, None)
    begins = "dids, seed 0: begins\n"
    assert shown(False, run, None) == f"{begins}dids, seed 0: 3.0 s (1 of 2)\n"
    failed = "dids, seed 0: failed: no [such] file (1 of 2)\n"
    assert shown(False, run, "no [such] file") == begins + failed
    assert failed.strip() in shown(True, run, "no [such] file")


def test_a_log_says_now_and_then_where_a_run_is(finished, monkeypatch):
    monkeypatch.setattr(watching, "_LINE_EVERY_S", 0.0)
    run = planned(finished.folder / "seed-0" / "dids")
    console = Console(file=io.StringIO(), width=100)
    with contest_progress("contest", 2, console) as watcher:
        for _ in range(2):
            watcher.look([run])
    begins, where = console.file.getvalue().splitlines()
    assert begins == "dids, seed 0: begins"
    assert re.fullmatch(r"dids, seed 0: \w+ \d+%", where)


def test_the_page_names_everybody_and_escapes_what_it_is_told(finished):
    page = (finished.folder / "compare.html").read_text(encoding="utf-8")
    head = page[page.index("<main>") : page.index("</main>")]
    for text in ("has the lowest mean test loss", "uniform", "dids", "sums", "colours", "2 seeds"):
        assert text in head
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    assert '"name": "dids"' in data
    assert "http" not in head


def test_the_page_is_made_of_the_result_alone(finished, tmp_path):
    again = (finished.folder / "compare.html").read_bytes()
    assert finished.call(*TWO) == 0
    assert (finished.folder / "compare.html").read_bytes() == again
