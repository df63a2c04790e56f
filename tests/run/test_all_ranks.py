"""The engine of several ranks, which are threads here that meet on a store of their own."""

import threading
import time
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest
from torch.distributed import TCPStore

from dids.errors import InputError
from dids.run.engines import AllRanks, all_ranks, in_this_process
from dids.run.launched_ranks import LaunchedRanks

PATIENCE = timedelta(seconds=20)
STEPS = 5


class Ranks:
    """Engines of ranks, of which all but the first help in threads."""

    def __init__(self, num: int) -> None:
        self.store = TCPStore("127.0.0.1", 0, None, True, PATIENCE)
        self.first, *self.others = [AllRanks(self._rank(number, num)) for number in range(num)]

    def _rank(self, number: int, num: int) -> LaunchedRanks:
        client = TCPStore("127.0.0.1", self.store.port, None, False, PATIENCE)
        return LaunchedRanks(number=number, num=num, store=client)

    @contextmanager
    def helping(self):
        is_over = threading.Event()
        helpers = [
            threading.Thread(target=other.help, args=[is_over.is_set], name=f"rank {number}")
            for number, other in enumerate(self.others, 1)
        ]
        for helper in helpers:
            helper.start()
        try:
            yield self.first
        finally:
            is_over.set()
            for helper in helpers:
                helper.join(PATIENCE.total_seconds())
                assert not helper.is_alive()


WHO_DID: dict[int, str] = {}
TOGETHER: list[threading.Barrier] = []


@dataclass(frozen=True)
class Squares:
    """A shard's number squared, as often as asked, once every rank has a shard."""

    length: int = 3
    mistake_on: int | None = None
    needs_model = True

    def opened(self):
        is_met = False

        def squared(shard, advance):
            nonlocal is_met
            WHO_DID[shard] = threading.current_thread().name
            if TOGETHER and not is_met:
                TOGETHER[0].wait(PATIENCE.total_seconds())
            is_met = True
            for _ in range(STEPS):
                advance(1)
            if shard == self.mistake_on:
                raise InputError(f"shard {shard} has a feature that is not finite.")
            return np.full(self.length, shard**2)

        return squared


@dataclass(frozen=True)
class Endless:
    """Shards of all ranks but one never end, and that one's fails once all are under way."""

    who_fails: str
    needs_model = True

    def opened(self):
        def endless(shard, advance):
            WHO_DID[shard] = threading.current_thread().name
            TOGETHER[0].wait(PATIENCE.total_seconds())
            if threading.current_thread().name == self.who_fails:
                raise InputError("the proxy has diverged.")
            while True:
                advance(0)
                time.sleep(0.001)

        return endless


class Model:
    """What a work opens, and a rank must let go of."""

    def __call__(self, shard, advance):
        TOGETHER[0].wait(PATIENCE.total_seconds())
        return shard


@dataclass(frozen=True)
class WithModel:
    """Notes the models that are opened, without keeping them."""

    needs_model = True

    def opened(self):
        model = Model()
        MODELS.append(weakref.ref(model))
        return model


MODELS: list[weakref.ref] = []


@pytest.fixture(autouse=True)
def nobody_waits():
    WHO_DID.clear()
    TOGETHER.clear()
    MODELS.clear()


def done(engine, work, shards):
    """Results in the shards' order, and how much was said to be done."""
    amounts: list[int] = []
    found = dict(engine(work, shards, amounts.append))
    assert sorted(found) == sorted(shards)
    return [found[shard].tolist() for shard in shards], sum(amounts)


@pytest.mark.parametrize("num", [1, 2, 3])
def test_any_number_of_ranks_gives_the_same_results_and_every_rank_does_some(num):
    shards = [7, 3, 11, 5, 2]
    expected = done(in_this_process, Squares(), shards)
    assert expected == ([[49] * 3, [9] * 3, [121] * 3, [25] * 3, [4] * 3], 5 * STEPS)
    TOGETHER.append(threading.Barrier(num))
    with Ranks(num).helping() as engine:
        assert done(engine, Squares(), shards) == expected
    assert len(set(WHO_DID.values())) == num


def test_results_larger_than_a_value_of_the_store_come_whole_and_leave_it():
    ranks = Ranks(2)
    length = 1_200_000  # of 8 bytes; the store takes 8 MiB
    TOGETHER.append(threading.Barrier(2))
    with ranks.helping() as engine:
        for shard, result in engine(Squares(length), [2, 3], lambda _: None):
            np.testing.assert_array_equal(result, np.full(length, shard**2))
    assert len(set(WHO_DID.values())) == 2
    assert ranks.store.num_keys() < 10  # counters


def test_work_larger_than_a_value_of_the_store_is_told_whole(monkeypatch):
    monkeypatch.setattr("dids.run.engines.shared_shards._PIECE_BYTES", 10)
    TOGETHER.append(threading.Barrier(2))
    with Ranks(2).helping() as engine:
        assert done(engine, Squares(1), [4, 6])[0] == [[16], [36]]
    assert len(set(WHO_DID.values())) == 2


def test_the_first_does_all_where_nobody_helps_and_who_comes_later_helps_with_what_is_next():
    ranks = Ranks(2)
    assert done(ranks.first, Squares(), [1, 2])[0] == [[1] * 3, [4] * 3]
    assert set(WHO_DID.values()) == {threading.main_thread().name}
    TOGETHER.append(threading.Barrier(2))
    with ranks.helping() as engine:
        assert done(engine, Squares(), [3, 4])[0] == [[9] * 3, [16] * 3]
    assert {WHO_DID[3], WHO_DID[4]} == {threading.main_thread().name, "rank 1"}


def test_one_shard_or_none_is_not_shared():
    ranks = Ranks(2)
    assert done(ranks.first, Squares(), []) == ([], 0)
    assert done(ranks.first, Squares(), [3]) == ([[9] * 3], STEPS)
    assert ranks.store.num_keys() <= 1  # its own


@pytest.mark.parametrize("mistake_on", [0, 1])
def test_a_mistake_on_any_rank_is_the_first_ones(mistake_on):
    TOGETHER.append(threading.Barrier(2))  # so that each has one of the two
    with (
        Ranks(2).helping() as engine,
        pytest.raises(
            InputError, match=rf"^shard {mistake_on} has a feature that is not finite\.$"
        ),
    ):
        done(engine, Squares(mistake_on=mistake_on), [0, 1])


@pytest.mark.parametrize("who", ["MainThread", "rank 1"])
def test_all_give_up_their_shards_where_one_has_failed(monkeypatch, who):
    monkeypatch.setattr(all_ranks, "_REPORT_EVERY_S", 0.01)
    TOGETHER.append(threading.Barrier(3))
    with Ranks(3).helping() as engine, pytest.raises(InputError, match=r"^the proxy has diverged"):
        done(engine, Endless(who), [0, 1, 2, 3])
    assert len(WHO_DID) == 3  # nobody took the last


def test_a_rank_that_has_helped_keeps_no_model_while_it_waits_on():
    TOGETHER.append(threading.Barrier(2))
    with Ranks(2).helping() as engine:
        assert dict(engine(WithModel(), [4, 5], lambda _: None)) == {4: 4, 5: 5}
        assert len(MODELS) == 2
        given_up_s = time.monotonic() + PATIENCE.total_seconds()
        while any(model() is not None for model in MODELS):
            assert time.monotonic() < given_up_s
            time.sleep(0.01)


def test_the_first_shows_what_others_have_done_while_it_waits(monkeypatch):
    monkeypatch.setattr(all_ranks, "_REPORT_EVERY_S", 0.0)
    TOGETHER.append(threading.Barrier(2))
    amounts: list[int] = []
    with Ranks(2).helping() as engine:
        for number, _ in enumerate(engine(Squares(), [1, 2], amounts.append), 1):
            assert sum(amounts) >= number * STEPS
    assert sum(amounts) == 2 * STEPS
