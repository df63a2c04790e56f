"""Tokens and features made by all ranks of a run are those of one process; faults."""

import functools
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from launched import launched
from test_engines import array_bytes, in_several_files
from tiny_run import WORDS, tiny_config

from dids.atomic import write_json
from dids.data import token_parts
from dids.data.token_parts import Tokenising
from dids.errors import InputError
from dids.gradients import FeatureStore
from dids.run.features import FeatureShards
from dids.run.task_tests import TaskTests

ROWS_PER_SHARD = 32
NUM_SHARDS = 6
DIED = 9
PATIENCE_S = 60.0
NAME_OF = {
    Tokenising: lambda part: str(part.folder),
    FeatureShards: lambda rows: str(rows.start // ROWS_PER_SHARD),
    TaskTests: lambda test: test.task,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    in_several_files(folder)
    return folder


def config_in(folder: Path, data: Path) -> Path:
    """A config, and a folder for what ranks say of their shards."""
    config = tiny_config(data, run=str(folder / "run"), proxy={"warmup_steps": 2})
    config["budget"]["batch_size"] = 12  # of 1, 2 and 3 ranks; else they warm up other proxies
    config["training"]["per_device_train_batch_size"] = 2
    for name in WORDS:
        config["data"]["sources"][name] = str(data / f"{name}-?.jsonl")
    path = folder / "config.json"
    path.write_text(json.dumps(config), "utf-8")
    (folder / "taken").mkdir(exist_ok=True)
    return path


@dataclass(frozen=True)
class Watching:
    """Prepares a rank: small shards, and a note of every one that it takes.

    Attributes:
        folder: Of the run's config.
        num: Ranks that must all have a shard of a stage before any goes on with its first.
        act: Called with the rank and the number of its shards of this kind so far, amid the shard.
        kind: Of the shards at which it acts.
    """

    folder: Path
    num: int = 1
    act: object = None
    kind: type = FeatureShards

    def __call__(self, rank: int) -> None:
        token_parts.PART_BYTES = 1
        small = functools.partial(FeatureStore.open_or_create, shard_size=ROWS_PER_SHARD)
        FeatureStore.open_or_create = small
        for kind in NAME_OF:
            kind.opened = self._watched(kind, kind.opened, rank)

    def _watched(self, kind, opened, rank):
        num_taken = 0

        def watched(shards):
            done = opened(shards)

            def one(shard, advance):
                nonlocal num_taken
                write_json(self._note(kind, rank, num_taken), NAME_OF[kind](shard))
                num_taken += 1
                for other in range(self.num):
                    await_that(self._note(kind, other, 0).exists)

                def amid(amount):
                    if self.act is not None and kind is self.kind:
                        self.act(rank, num_taken)
                    advance(amount)

                return done(shard, amid)

            return one

        return watched

    def _note(self, kind, rank, number) -> Path:
        return self.folder / "taken" / f"{kind.__name__}-{rank}-{number}"


def await_that(claim) -> None:
    given_up_s = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < given_up_s
        time.sleep(0.01)


def amid_the_second_shard_of_rank_1(folder, act):
    """Act there, when a shard is marked as done; the first goes no further than its third."""

    def acting(rank, num_taken):
        if rank == 1 and num_taken == 2:
            await_that(lambda: marked(folder))
            act()
        if rank == 0 and num_taken == 3:
            time.sleep(PATIENCE_S)

    return acting


def taken(folder: Path, kind: type = FeatureShards) -> list[str]:
    """The shards that all ranks took, which are forgotten by it."""
    notes = sorted((folder / "taken").glob(f"{kind.__name__}-*"))
    shards = [json.loads(note.read_text()) for note in notes]
    for note in notes:
        note.unlink()
    return shards


def ranks_of(folder: Path, kind: type) -> set[str]:
    return {path.name.split("-")[1] for path in (folder / "taken").glob(f"{kind.__name__}-*")}


def marked(folder: Path) -> set[str]:
    manifest = folder / "run" / "features" / "manifest.json"
    return set(json.loads(manifest.read_text())["checksums"]) if manifest.exists() else set()


@pytest.fixture(scope="module")
def expected(tmp_path_factory, data) -> dict[str, bytes]:
    """What one process makes."""
    folder = tmp_path_factory.mktemp("one")
    ended = launched(1, "features", config_in(folder, data), fault=Watching(folder))
    assert ended.statuses == [0], ended.said
    found = array_bytes(folder / "run")
    assert sum("features/part-" in name for name in found) == NUM_SHARDS
    return found


@pytest.mark.parametrize("num", [2, 3])
def test_any_number_of_ranks_makes_the_same_bytes_and_every_rank_makes_some(
    tmp_path, data, expected, num
):
    ended = launched(num, "domains", config_in(tmp_path, data), fault=Watching(tmp_path, num))
    assert ended.statuses == [0] * num, ended.said
    assert array_bytes(tmp_path / "run") == expected
    for kind in (Tokenising, FeatureShards):
        assert ranks_of(tmp_path, kind) == {str(rank) for rank in range(num)}
        shards = taken(tmp_path, kind)
        assert len(shards) == len(set(shards))
    leftovers = [path for path in (tmp_path / "run").rglob("*") if "tmp" in path.name]
    assert leftovers == []
    assert ended.said.count("gradient features: done") == 1
    assert ended.said.count("tokenising: done") == 1


def test_what_is_damaged_is_made_again_by_all_ranks(tmp_path, data, expected):
    config = config_in(tmp_path, data)
    assert launched(2, "features", config, fault=Watching(tmp_path)).statuses == [0, 0]
    for kind in (Tokenising, FeatureShards):
        taken(tmp_path, kind)
    features = tmp_path / "run" / "features"
    for damaged in (features / "part-00001.npy", features / "part-00003.npy"):
        damaged.write_bytes(damaged.read_bytes()[:-1])
    (tokens,) = (tmp_path / "run" / "tokens").glob("noise-*/tokens.npy")
    tokens.unlink()  # of three files, which are parts
    ended = launched(2, "domains", config, fault=Watching(tmp_path, 2))
    assert ended.statuses == [0, 0], ended.said
    assert ranks_of(tmp_path, Tokenising) == ranks_of(tmp_path, FeatureShards) == {"0", "1"}
    assert sorted(taken(tmp_path)) == ["1", "3"]
    assert array_bytes(tmp_path / "run") == expected


def test_a_rank_that_dies_in_a_shard_ends_all_and_the_rest_is_made_later(tmp_path, data, expected):
    act = amid_the_second_shard_of_rank_1(tmp_path, lambda: os._exit(DIED))
    config = config_in(tmp_path, data)
    ended = launched(2, "features", config, fault=Watching(tmp_path, 2, act))
    assert ended.statuses[1] == DIED
    assert 0 not in ended.statuses
    assert -signal.SIGKILL not in ended.statuses
    assert "Traceback" not in ended.said
    kept = marked(tmp_path)
    assert 0 < len(kept) < NUM_SHARDS
    taken(tmp_path)
    ended = launched(2, "features", config, fault=Watching(tmp_path))
    assert ended.statuses == [0, 0], ended.said
    assert set(taken(tmp_path)) == {str(shard) for shard in range(NUM_SHARDS)} - kept
    assert array_bytes(tmp_path / "run") == expected


@pytest.mark.parametrize("who", [0, 1])
def test_a_mistake_in_a_shard_is_one_sentence_on_whichever_rank(tmp_path, data, who):
    def act(rank, num_taken):
        if rank == who:
            raise InputError("the proxy has diverged.")

    ended = launched(2, "features", config_in(tmp_path, data), fault=Watching(tmp_path, 2, act))
    assert 2 in ended.statuses
    assert 0 not in ended.statuses  # the same, or ended with the one that was faster
    assert -signal.SIGKILL not in ended.statuses
    assert ended.said.count("dids: the proxy has diverged.") == 1
    assert "Traceback" not in ended.said


def test_a_bad_record_in_a_part_that_another_rank_reads_is_one_sentence(tmp_path, data):
    def act(rank, num_taken):
        if rank == 1:
            raise InputError("b.jsonl, line 7: no text.")

    watching = Watching(tmp_path, 2, act, kind=Tokenising)
    ended = launched(2, "features", config_in(tmp_path, data), fault=watching)
    assert 2 in ended.statuses
    assert 0 not in ended.statuses
    assert ended.said.count("dids: b.jsonl, line 7: no text.") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_rank_that_helps_stops_at_once_and_shards_stay(
    tmp_path, data, expected, number
):
    act = amid_the_second_shard_of_rank_1(tmp_path, lambda: os.kill(os.getpid(), number))
    config = config_in(tmp_path, data)
    ended = launched(2, "features", config, fault=Watching(tmp_path, 2, act))
    assert ended.statuses[1] == 128 + number
    assert ended.statuses[0] in (143, 1)
    assert ended.said.count("the same command goes on from here") == 1
    assert "Traceback" not in ended.said
    assert 0 < len(marked(tmp_path)) < NUM_SHARDS
    assert launched(1, "features", config, fault=Watching(tmp_path)).statuses == [0]
    assert array_bytes(tmp_path / "run") == expected
