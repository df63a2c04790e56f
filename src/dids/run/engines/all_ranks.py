"""Shards on all ranks of a run: the first works on them, and the others, who wait for it, help.

They meet on the launcher's store and need no process group. Who takes which shard is chance, and
cannot be seen from what comes of it. A rank that dies takes the others with it, as anywhere in a
run; what has come back by then stays.
"""

import gc
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from dids.errors import InputError
from dids.run.engines.engine import Advance, Shards, in_this_process
from dids.run.engines.shared_shards import SharedShards
from dids.run.launched_ranks import LOOK_EVERY_S, LaunchedRanks

_REPORT_EVERY_S = 0.5


class AllRanks:
    """The engine of a run on several processes; of one, this process.

    Args:
        ranks: The processes of the run.
    """

    def __init__(self, ranks: LaunchedRanks) -> None:
        self._ranks = ranks

    def __call__(
        self, work: Shards[Any, Any], shards: Sequence[Any], advance: Advance
    ) -> Iterator[tuple[Any, Any]]:
        """Do shards together with the ranks that are in `help`; alone where none is.

        Args:
            work: What is done to each.
            shards: The shards.
            advance: Told how much all ranks have done.

        Yields:
            A shard and its result, as they are finished.

        Raises:
            InputError: What a shard raised, on whichever rank.
        """
        if self._ranks.num == 1 or len(shards) < 2:
            yield from in_this_process(work, shards, advance)
            return
        shared = self._next_call()
        shared.announce(work, shards)

        def advance_all(amount: int) -> None:
            mistake = shared.mistake()
            if mistake is not None:
                raise InputError(mistake)
            advance(amount + shared.reported())

        finished = _finished(shared, work, shards, advance_all)
        for number, result in itertools.islice(finished, len(shards)):
            advance_all(0)
            yield shards[number], result
        shared.clear()

    def help(self, is_over: Callable[[], bool]) -> None:
        """Take shards of one call of the first rank after another.

        Args:
            is_over: Whether the first rank is done, or has failed.
        """
        while not is_over():
            if SharedShards(self._ranks.store, self._ranks.num_shared + 1).is_announced():
                self._help_with(self._next_call(), is_over)
            else:
                time.sleep(LOOK_EVERY_S)

    def _next_call(self) -> SharedShards:
        self._ranks.num_shared += 1
        return SharedShards(self._ranks.store, self._ranks.num_shared)

    def _help_with(self, shared: SharedShards, is_over: Callable[[], bool]) -> None:
        has_gpu = self._ranks.take_gpu()
        with suppress(_OverError):
            _do_shards(shared, _Reports(shared, is_over))
        if has_gpu:
            _free_gpu()


def _finished(
    shared: SharedShards, work: Shards[Any, Any], shards: Sequence[Any], advance: Advance
) -> Iterator[tuple[int, Any]]:
    """Numbers and results of shards that are done here, and that others hand back, without end."""
    result_of = None
    for number in iter(shared.take, None):
        if result_of is None:
            result_of = work.opened()
        yield number, result_of(shards[number], advance)
        yield from shared.returned()
    while True:
        yield from shared.returned()
        advance(0)
        time.sleep(LOOK_EVERY_S)


def _do_shards(shared: SharedShards, reports: "_Reports") -> None:
    """Do shards for the first rank until none is left."""
    shards: list[Any] = []
    result_of = None
    for number in iter(shared.take, None):
        try:
            if result_of is None:
                work, shards = shared.contents()
                result_of = work.opened()
            result = result_of(shards[number], reports.advance)
        except InputError as error:
            shared.refuse(str(error))
            return
        reports.send()
        shared.hand_back(number, result)


class _OverError(Exception):
    """The first rank has failed and does not want the shard any more."""


class _Reports:
    """What the first rank is told of shards that are done here."""

    def __init__(self, shared: SharedShards, is_over: Callable[[], bool]) -> None:
        self._shared = shared
        self._is_over = is_over
        self._amount = 0
        self._sent_s = time.monotonic()

    def advance(self, amount: int) -> None:
        """Count what is done, and send it now and then."""
        self._amount += amount
        if time.monotonic() - self._sent_s >= _REPORT_EVERY_S:
            self.send()

    def send(self) -> None:
        """Send what was not sent yet.

        Raises:
            _OverError: If nobody wants it.
        """
        if self._is_over():
            raise _OverError
        self._shared.report(self._amount)
        self._amount, self._sent_s = 0, time.monotonic()


def _free_gpu() -> None:
    """Give back what a model took: the first rank may go on for hours without this one."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
