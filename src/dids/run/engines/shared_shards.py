"""The shards of one call of an engine, on the store where ranks meet: taken, done, handed back.

A shard is taken by counting, so that no two ranks have the same one, and nobody deals them out.
Work and results travel as pickles, in pieces: a store's value has 8 MB at most.
"""

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

from dids.run.engines.engine import Shards

_PIECE_BYTES = 4 << 20


class SharedShards:
    """One call's shards, as a rank sees them.

    Args:
        store: Where the ranks meet.
        number: Of the call, from 1; the same on every rank.
    """

    def __init__(self, store: Any, number: int) -> None:  # noqa: ANN401
        from torch.distributed.distributed_c10d import PrefixStore

        self._store = PrefixStore(f"shards/{number}", store)
        self._num_seen = 0
        self._num_reported = 0

    def announce(self, work: Shards[Any, Any], shards: Sequence[Any]) -> None:
        """Let every rank take shards from now on."""
        _put(self._store, "work", (work, list(shards)))
        self._store.set("num", str(len(shards)))

    def is_announced(self) -> bool:
        """Whether they can be taken, or could once."""
        return bool(self._store.check(["num"]))

    def take(self) -> int | None:
        """The number of a shard that nobody has taken; None where there is no more."""
        number = self._store.add("taken", 1) - 1
        return number if number < int(self._store.get("num")) else None

    def contents(self) -> tuple[Shards[Any, Any], list[Any]]:
        """The work and all shards, for a rank that has taken one and not handed it back."""
        work, shards = _value(self._store, "work")
        return work, shards

    def report(self, amount: int) -> None:
        """Say how much another rank has done of the shards it took."""
        self._store.add("done", amount)

    def reported(self) -> int:
        """How much other ranks have done since the last call."""
        num_reported = self._store.add("done", 0)
        amount = num_reported - self._num_reported
        self._num_reported = num_reported
        return int(amount)

    def refuse(self, mistake: str) -> None:
        """Tell the first rank that a shard cannot be done, for a mistake of the user's."""
        self._store.set("mistake", mistake)

    def mistake(self) -> str | None:
        """Why another rank has refused a shard; None where none has."""
        return self._store.get("mistake").decode() if self._store.check(["mistake"]) else None

    def hand_back(self, number: int, result: Any) -> None:  # noqa: ANN401
        """Give the first rank what came of a shard."""
        place = self._store.add("returned", 1)
        _put(self._store, f"returned/{place}", (number, result))

    def returned(self) -> Iterator[tuple[int, Any]]:
        """Numbers and results of the shards that have come back since the last call."""
        while self._store.check([key := f"returned/{self._num_seen + 1}"]):
            self._num_seen += 1
            number, result = _value(self._store, key)
            _remove(self._store, key)
            yield number, result

    def clear(self) -> None:
        """Free what the work takes on the store, once every shard has come back."""
        _remove(self._store, "work")


def _put(store: Any, key: str, value: Any) -> None:  # noqa: ANN401
    """Set a value of any size; the key itself is there only when all of it is."""
    pickled = pickle.dumps(value)
    starts = range(0, len(pickled), _PIECE_BYTES)
    for place, start in enumerate(starts):
        store.set(f"{key}/{place}", pickled[start : start + _PIECE_BYTES])
    store.set(key, str(len(starts)))


def _value(store: Any, key: str) -> Any:  # noqa: ANN401
    num_pieces = int(store.get(key))
    return pickle.loads(b"".join(store.get(f"{key}/{place}") for place in range(num_pieces)))


def _remove(store: Any, key: str) -> None:  # noqa: ANN401
    for place in range(int(store.get(key))):
        store.delete_key(f"{key}/{place}")
    store.delete_key(key)
