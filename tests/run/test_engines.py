"""What is prepared on Ray is what this process prepares, whoever dies meanwhile."""

import functools
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from test_bad_input import sentence
from tiny_run import WORDS, tiny_config, write_config, write_tiny_data

from dids.config import load_config
from dids.data import token_parts
from dids.errors import InputError
from dids.gradients import FeatureStore
from dids.run.engines import in_this_process, on_ray
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]
FILES_PER_SOURCE = 3
ROWS_PER_SHARD = 32


@pytest.fixture(scope="module", params=[2])
def num_workers(request):
    """A local Ray of so many workers."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'dids[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",  # not one that another test has begun meanwhile
        num_cpus=request.param,
        object_store_memory=200_000_000,
        include_dashboard=False,
        log_to_driver=False,
    )
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import it
    yield request.param
    ray.shutdown()


@dataclass(frozen=True)
class DyingOnce:
    """Does shards, but the first process that is half-way through a certain one is killed."""

    shards: Any
    fatal: Any
    marker: Path

    @property
    def needs_model(self):
        return self.shards.needs_model

    def opened(self):
        done = self.shards.opened()

        def dying(shard, advance):
            def deadly(amount):
                if shard == self.fatal and not self.marker.exists():
                    self.marker.write_text(str(os.getpid()))
                    os.kill(os.getpid(), signal.SIGKILL)
                advance(amount)

            return done(shard, deadly)

        return dying


@dataclass(frozen=True)
class Failing:
    """Does no shard at all."""

    how: str
    needs_model = False

    def opened(self):
        def failing(shard, advance):
            if shard == 2 and self.how == "refuses":
                raise InputError("b.jsonl, line 7: no text.")
            if shard == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return shard

        return failing


def in_several_files(folder):
    """The tiny data, each source in some files."""
    write_tiny_data(folder)
    for name in WORDS:
        lines = (folder / f"{name}.jsonl").read_text("utf-8").splitlines(keepends=True)
        for number in range(FILES_PER_SOURCE):
            part = "".join(lines[number::FILES_PER_SOURCE])
            (folder / f"{name}-{number}.jsonl").write_text(part, "utf-8")


def prepared(folder, data, engine, **changes):
    """The run folder after features, prepared in parts of one file and shards of a few rows."""
    folder.mkdir(exist_ok=True)
    config = tiny_config(data, run=str(folder / "run"), **changes)
    for name in WORDS:
        config["data"]["sources"][name] = str(data / f"{name}-?.jsonl")
    path = folder / "config.json"
    path.write_text(json.dumps(config), "utf-8")
    run = RunFolder(folder / "run")
    small = functools.partial(FeatureStore.open_or_create, shard_size=ROWS_PER_SHARD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_parts, "PART_BYTES", 1)
        patch.setattr(FeatureStore, "open_or_create", small)
        run_stages(load_config(path), run, ConsoleProgress(), last="features", engine=engine)
    return run.path


def array_bytes(run):
    return {
        str(path.relative_to(run)): path.read_bytes()
        for kind in ("tokens", "features")
        for path in sorted((run / kind).rglob("*.npy"))
    }


def killing(engine, folder):
    """An engine one of whose workers is killed in the middle shard of all."""

    def engine_that_kills(work, shards, advance):
        marker = folder / f"killed-{type(work).__name__}"
        return engine(DyingOnce(work, shards[len(shards) // 2], marker), shards, advance)

    return engine_that_kills


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    in_several_files(folder)
    return folder


@pytest.mark.parametrize(("num_workers", "share"), [(2, 1.0), (1, 0.7)], indirect=["num_workers"])
def test_ray_prepares_the_same_bytes_though_workers_are_killed(tmp_path, data, num_workers, share):
    features = {"dim": 64, "share": share}
    here = prepared(tmp_path / "here", data, in_this_process, features=features)
    expected = array_bytes(here)
    num_shards = sum("features/part-" in name for name in expected)
    assert num_shards > 2
    engine = killing(on_ray, tmp_path)
    there = prepared(tmp_path / "there", data, engine, features=features)
    assert array_bytes(there) == expected
    died = {path.name: int(path.read_text()) for path in tmp_path.glob("killed-*")}
    assert set(died) == {"killed-Tokenising", "killed-FeatureShards"}
    assert os.getpid() not in died.values()
    leftovers = [path for path in there.rglob("*") if "tmp" in path.name or "parts" in path.name]
    assert leftovers == []


def test_what_ray_has_begun_is_ended_here(tmp_path, data, num_workers):
    expected = array_bytes(prepared(tmp_path / "here", data, in_this_process))

    def stopped(work, shards, advance):
        if not work.needs_model:
            yield from in_this_process(work, shards, advance)
            return
        yield next(on_ray(work, shards, advance))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path / "there", data, stopped)
    begun = array_bytes(tmp_path / "there" / "run")
    assert sum("features/part-" in name for name in begun) == 1
    assert array_bytes(prepared(tmp_path / "there", data, in_this_process)) == expected


def test_what_a_shard_refuses_is_one_sentence(num_workers):
    with pytest.raises(InputError, match=r"^b.jsonl, line 7: no text.$"):
        list(on_ray(Failing("refuses"), [1, 2, 3], lambda _: None))


def test_a_shard_that_kills_every_worker_is_given_up_and_named(num_workers):
    with pytest.raises(InputError, match=r"4 workers of Ray have died over one shard \(2\)"):
        list(on_ray(Failing("kills"), [1, 2, 3], lambda _: None))


def test_more_threads_than_any_machine_has_cores_is_refused(num_workers, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    work = DyingOnce(Failing("refuses"), None, Path("none"))
    monkeypatch.setattr(DyingOnce, "needs_model", True)
    with pytest.raises(InputError, match=r"takes 3 cores.* has more than 2; set OMP_NUM_THREADS"):
        list(on_ray(work, [1], lambda _: None))


def test_a_machine_without_ray_is_told_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    config = write_config(tmp_path)
    message = sentence(capsys, monkeypatch, "features", config, "--engine", "ray")
    assert "pip install 'dids[ray]'" in message
    assert list((tmp_path / "run" / "tokens").glob("*")) == []
