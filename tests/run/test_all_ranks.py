"""The engine of several ranks, its ranks being threads that meet on a store."""

import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pytest
from torch.distributed import TCPStore

from dids.errors import InputError
from dids.run.engines import AllRanks, in_this_process
from dids.run.engines import shared_shards
from dids.run.launched_ranks import LaunchedRanks

PATIENCE_S = 20.0


class Meeting:
    """A store, and ranks that help until the first is done."""

    def __init__(self, num: int) -> None:
        self.server = TCPStore("127.0.0.1", 0, None, True, timedelta(seconds=PATIENCE_S))
        self.engines = [AllRanks(self._rank(number, num)) for number in range(num)]
        self.is_over = threading.Event()
        self.errors: list[BaseException] = []
        self.helpers = [
            threading.Thread(target=self._help, args=[engine]) for engine in self.engines[1:]
        ]

    def _rank(self, number: int, num: int) -> LaunchedRanks:
        store = TCPStore(
            "127.0.0.1", self.server.port, None, False, timedelta(seconds=PATIENCE_S)
        )
        return LaunchedRanks(number=number, num=num, store=store)

    def _help(self, engine: AllRanks) -> None:
        try:
            engine.help(self.is_over.is_set)
        except BaseException as error:
            self.errors.append(error)

    def __enter__(self) -> AllRanks:
        for helper in self.helpers:
            helper.start()
        return self.engines[0]

    def __exit__(self, *error: object) -> None:
        self.is_over.set()
        for helper in self.helpers:
            helper.join(PATIENCE_S)
            assert not helper.is_alive()
        assert self.errors == []
