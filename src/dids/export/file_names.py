"""Names of files for domains, whose own names may hold anything."""

import re
from collections.abc import Iterable

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


def file_stems(names: Iterable[str]) -> dict[str, str]:
    """A file name without ending for every domain: readable, safe anywhere, none twice.

    Args:
        names: Of the domains.

    Returns:
        By domain. Two that differ in case alone get different ones.

    Example:
        >>> file_stems(["code/0", "code-0", "web: new"])
        {'code/0': 'code-0', 'code-0': 'code-0-2', 'web: new': 'web-new'}
    """
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        base = _UNSAFE.sub("-", name).strip("-.") or "domain"
        stem, number = base, 1
        while stem.lower() in taken:
            number += 1
            stem = f"{base}-{number}"
        taken.add(stem.lower())
        stems[name] = stem
    return stems
