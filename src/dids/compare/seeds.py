"""The seeds of a contest, as people write them: ``0-4`` or ``0,2,7-9``."""

import re

from dids.errors import InputError

_PART = re.compile(r"(\d+)(?:-(\d+))?")
_FIRST_FOR_TUNING = 1000


def parsed_seeds(text: str) -> tuple[int, ...]:
    """Seeds in the order in which they are named.

    Raises:
        InputError: If a part is no number and no range, or a seed is named twice.

    Example:
        >>> parsed_seeds("0-2,7")
        (0, 1, 2, 7)
    """
    seeds: list[int] = []
    for part in (part.strip() for part in text.split(",")):
        found = _PART.fullmatch(part)
        last = int(found[2] or found[1]) if found else -1
        if found is None or last < int(found[1]):
            raise InputError(
                f"--seeds: '{part}' is neither a number nor a range; write 0-4 or 0,2,7."
            )
        seeds += range(int(found[1]), last + 1)
    twice = [seed for seed in seeds if seeds.count(seed) > 1]
    if twice:
        raise InputError(f"--seeds: {twice[0]} is given twice; every seed runs once.")
    return tuple(seeds)


def tuning_seed(seeds: tuple[int, ...]) -> int:
    """A seed that settings are chosen on: none of the contest's, the same if more seeds join it.

    Example:
        >>> tuning_seed((0, 1, 2)), tuning_seed((1000, 1001))
        (1000, 1002)
    """
    return next(n for n in range(_FIRST_FOR_TUNING, 2**31) if n not in seeds)
