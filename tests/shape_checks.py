"""The type checker of the tests: annotated shapes and types are checked at run time."""

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import is_dataclass
from inspect import isclass
from types import CodeType
from typing import Any, get_args

import jaxtyping
from beartype import BeartypeConf, beartype

# Without the numeric tower an int passed where a float is annotated would fail.
CONF = BeartypeConf(is_pep484_tower=True)

# Sizes are followed in so many calls of a function, in every test, and in one of so many after
# them: it makes a call a tenth of a millisecond dearer, and a run calls some a thousand times.
SIZES_FOLLOWED = 32
# A function within another one is decorated whenever that is called, two milliseconds each time.
INNER_CHECKED = 4

_with_sizes = jaxtyping.jaxtyped
_calls: Counter[CodeType] = Counter()


def check_package(name: str) -> None:
    """Check the calls of a package that is imported from now on."""
    jaxtyping.jaxtyped = _checking  # by this name the hook decorates
    jaxtyping.install_import_hook(name, f"{__name__}.checked")


def begin_test() -> None:
    """Count calls anew."""
    _calls.clear()


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    return beartype(conf=CONF)(function)


def _checking(*, typechecker: Callable[..., Any]) -> Callable[..., Any]:
    """Sizes are followed where there are any."""

    def decorated(defined: Any) -> Any:
        if isclass(defined):
            if is_dataclass(defined) and "__init__" in vars(defined):
                defined.__init__ = decorated(defined.__init__)
            return defined
        annotations = getattr(defined, "__annotations__", {})
        # A name in quotes may be there for the type checker alone, which jaxtyping allows for.
        if any(map(_is_quoted, annotations.values())) or "jaxtyping." in repr(annotations):
            return _followed(defined, functools.partial(_with_sizes, typechecker=typechecker))
        if "<locals>" in defined.__qualname__ and not _is_due(defined.__code__, INNER_CHECKED):
            return defined
        return typechecker(defined)

    return decorated


def _followed(
    defined: Callable[..., Any], decorate: Callable[..., Callable[..., Any]]
) -> Callable[..., Any]:
    """The function, decorated in the calls that are due."""
    decorated_once = functools.cache(lambda: decorate(defined))

    @functools.wraps(defined)
    def called(*args: Any, **named: Any) -> Any:
        is_due = _is_due(defined.__code__, SIZES_FOLLOWED)
        function = decorated_once() if is_due else defined
        return function(*args, **named)

    return called


def _is_due(code: CodeType, most: int) -> bool:
    """Whether it is among the first of this test, or one in as many after them."""
    _calls[code] += 1
    return _calls[code] <= most or _calls[code] % most == 0


def _is_quoted(annotation: Any) -> bool:
    """Whether there are names in quotes in it, or other strings."""
    parts = annotation if isinstance(annotation, list) else get_args(annotation)
    return isinstance(annotation, str) or any(map(_is_quoted, parts))
