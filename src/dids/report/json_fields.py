"""Reads the fields of a JSON object into values, and names the one that is missing or wrong."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dids.errors import InputError

T = TypeVar("T")


class Fields:
    """The fields of one JSON object.

    Args:
        values: The object.
        place: Where it stands in the whole, for messages: ``tasks.piqa``.

    Raises:
        InputError: If it is no object.
    """

    def __init__(self, values: Any, place: str) -> None:  # noqa: ANN401 (what a file holds)
        if not isinstance(values, Mapping):
            raise InputError(
                f"{place or 'result'} must be an object, but it is {type(values).__name__}."
            )
        self.values = values
        self.place = place

    def path(self, key: str) -> str:
        """The place of a field."""
        return f"{self.place}.{key}" if self.place else key

    def take(self, key: str, read: Callable[[Any], T], *default: T) -> T:
        """The field as ``read`` makes it; the default where it is missing.

        Raises:
            InputError: If it is missing and has no default, or cannot be read.
        """
        if key not in self.values:
            if default:
                return default[0]
            raise InputError(f"the field {self.path(key)} is missing.")
        try:
            return read(self.values[key])
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            value = repr(self.values[key])[:60]
            raise InputError(f"the field {self.path(key)} cannot be read: {value}.") from error

    def inner(self, key: str) -> "Fields":
        """The object in a field."""
        return Fields(self.values[key], self.path(key))

    def each(self, key: str, read: Callable[["Fields"], T]) -> dict[str, T]:
        """What ``read`` makes of every object in an object; empty where that is missing."""
        inner = Fields(self.values.get(key, {}), self.path(key))
        return {name: read(inner.inner(name)) for name in inner.values}

    def list(self, key: str, read: Callable[["Fields"], T]) -> "list[T]":
        """What ``read`` makes of every object in a list; empty where it is missing."""
        items = self.values.get(key) or []
        if not isinstance(items, list):
            raise InputError(
                f"the field {self.path(key)} must be a list, but it is {type(items).__name__}."
            )
        return [read(Fields(item, f"{self.path(key)}[{i}]")) for i, item in enumerate(items)]


def optional(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """Reads null as None, and anything else with ``read``."""
    return lambda value: None if value is None else read(value)


def mapping_of(read: Callable[[Any], T]) -> Callable[[Any], dict[str, T]]:
    """Reads every value of a mapping with ``read``."""
    return lambda value: {str(key): read(item) for key, item in value.items()}


def tuple_of(read: Callable[[Any], T]) -> Callable[[Any], tuple[T, ...]]:
    """Reads every item of a list with ``read``."""
    return lambda value: tuple(read(item) for item in value)
