"""What an engine is, and the plainest: this process, one shard after the other."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

Shard = TypeVar("Shard")
Result = TypeVar("Result")
ShardIn = TypeVar("ShardIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)

Advance = Callable[[int], None]
"""Told how many records or samples were done since the last call."""


@runtime_checkable
class Shards(Protocol[ShardIn, ResultOut]):
    """What can be done to any shard, in any process that can import it and read the same files.

    It is sent to workers, so it is plain data: paths and settings, no models.
    """

    @property
    def needs_model(self) -> bool:
        """Whether a worker computes with a model: on a GPU, or on as many threads as this one."""

    def opened(self) -> Callable[[ShardIn, Advance], ResultOut]:
        """Load what every shard needs, once a worker; what it gives does one shard.

        The result may depend on the shard alone: a shard whose worker was lost is done again.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """Does shards, wherever it may be."""

    def __call__(
        self, work: Shards[Any, Any], shards: Sequence[Any], advance: Advance
    ) -> Iterator[tuple[Any, Any]]:
        """Do every shard.

        Args:
            work: What is done to each.
            shards: The shards.
            advance: Told how much is done.

        Yields:
            A shard and its result, as they are finished, in any order.

        Raises:
            InputError: What a shard raised, or that its workers died again and again.
        """
        ...


def in_this_process(
    work: Shards[Shard, Result], shards: Sequence[Shard], advance: Advance
) -> Iterator[tuple[Shard, Result]]:
    """One shard after the other, in their order.

    Args:
        work: What is done to each.
        shards: The shards.
        advance: Told how much is done.

    Yields:
        A shard and its result.
    """
    if not shards:
        return
    result_of = work.opened()
    for shard in shards:
        yield shard, result_of(shard, advance)
