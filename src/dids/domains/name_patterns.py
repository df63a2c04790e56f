"""Which names a name or a pattern of a user stands for."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase


def fitting(pattern: str, names: Sequence[str]) -> list[int]:
    """Numbers of the names that a pattern fits; a name stands for itself, whatever its signs.

    Example:
        >>> fitting("code/*", ["code/0", "code/1", "prose"]), fitting("prose/*", ["prose"])
        ([0, 1], [])
        >>> fitting("a[1]", ["a1", "a[1]"])
        [1]
    """
    if pattern in names:
        return [names.index(pattern)]
    return [number for number, name in enumerate(names) if fnmatchcase(name, pattern)]


def no_such_name(pattern: str, names: Sequence[str], kind: str) -> str:
    """The sentence for a pattern that fits nothing, with the nearest name or all of them.

    Example:
        >>> no_such_name("cod", ["code", "prose"], "domain")
        "no domain is called 'cod'; did you mean 'code'?"
    """
    near = difflib.get_close_matches(pattern, names, n=1)
    listed = ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {listed}."
    return f"no {kind} is called '{pattern}'; {hint}"
