"""Names of domains: by the source they come from, or by the mix of sources they hold.

Axes: k domains, s sources.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer

MIN_SHARE = 0.2
"""Share of a domain that a source needs to be in its name."""


def domain_names(
    source_counts_ks: Integer[np.ndarray, "k s"], source_names: Sequence[str]
) -> list[str]:
    """Name domains by the sources that hold at least a fifth of them, numbered where names meet.

    Args:
        source_counts_ks: Samples of each source in each domain; domains in the order of their
            numbers.
        source_names: Names of the sources.

    Returns:
        Unique names.

    Example:
        >>> domain_names(np.array([[8, 0], [4, 0], [0, 3]]), ["code", "prose"])
        ['code/0', 'code/1', 'prose']
        >>> domain_names(np.array([[5, 5]]), ["code", "prose"])
        ['code+prose']
    """
    bases = [_mix(count_s, source_names) for count_s in source_counts_ks]
    total, seen = Counter(bases), Counter[str]()
    taken = {base for base in bases if total[base] == 1}
    names = []
    for base in bases:
        name = base
        while total[base] > 1 and (name == base or name in taken):
            name = f"{base}/{seen[base]}"
            seen[base] += 1
        taken.add(name)
        names.append(name)
    return names


def _mix(count_s: Integer[np.ndarray, " s"], source_names: Sequence[str]) -> str:
    share_s = count_s / max(int(count_s.sum()), 1)
    leading = [int(s) for s in np.argsort(-share_s, kind="stable") if share_s[s] >= MIN_SHARE]
    return "+".join(source_names[s] for s in leading) or "mixed"
