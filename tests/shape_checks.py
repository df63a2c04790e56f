"""The type checker of the tests: annotated shapes and types are checked at run time."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

# Without the numeric tower an int passed where a float is annotated would fail.
CONF = BeartypeConf(is_pep484_tower=True)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    return beartype(conf=CONF)(function)
