"""Two runs that share a folder for tokens and start together."""

import threading
from concurrent.futures import ThreadPoolExecutor

from run.tiny_run import tiny_config, write_config

from dids.config.load import load_config
from dids.run.engines.engine import in_this_process
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages

LIMIT_S = 120.0


class Saying(ConsoleProgress):
    """Tells when it says that it waits."""

    def __init__(self):
        super().__init__()
        self.waits = threading.Event()

    def say(self, line):
        if line.startswith("waiting for another run"):
            self.waits.set()
        super().say(line)


def prepared(folder, engine, progress):
    run = RunFolder(folder / "run")
    run_stages(load_config(folder / "config.yaml"), run, progress, last="tokens", engine=engine)
    return {kind: run.facts("tokens")[kind] for kind in ("sources", "validation", "test")}


def test_the_second_waits_and_finds_everything_there(tmp_path):
    cache = tmp_path / "cache"
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        data = {**tiny_config(folder)["data"], "cache": str(cache)}
        write_config(folder, data=data)
    is_at_work = threading.Event()
    saying = Saying()

    def slow(work, shards, advance):
        is_at_work.set()
        assert saying.waits.wait(LIMIT_S)
        yield from in_this_process(work, shards, advance)

    def none_left(work, shards, advance):
        raise AssertionError("what the first run has written is written again")

    with ThreadPoolExecutor(1) as other:
        first = other.submit(prepared, tmp_path / "first", slow, ConsoleProgress())
        assert is_at_work.wait(LIMIT_S)
        second = prepared(tmp_path / "second", none_left, saying)
        assert first.result() == second
    assert [entry.name for entry in cache.iterdir() if ".tmp" in entry.name] == []
