"""Which limits contradict each other, by name.

Axis letters: k domains, m rows of one limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.optimize import linprog


@dataclass(frozen=True)
class NamedLimit:
    """One thing that somebody said of the mixture.

    Attributes:
        field: Where it was said, as a path of keys.
        sentence: What was said, for messages: ``cap 0.5``, ``floor 0.1 of each of web/0, web/1``.
        row_mk: Share of each domain that counts, one row a sum.
        lower_m: Least value of each sum; minus infinity for none.
        upper_m: Greatest value of each sum; infinity for none.
    """

    field: tuple[str, ...]
    sentence: str
    row_mk: Float64[np.ndarray, "m k"]
    lower_m: Float64[np.ndarray, " m"]
    upper_m: Float64[np.ndarray, " m"]


def conflict(limits: Sequence[NamedLimit], num_domains: int) -> list[NamedLimit]:
    """Limits that no mixture keeps together, none of which could be left out; empty if all can be.

    A deletion filter (Chinneck & Dravnieks 1991, ORSA Journal on Computing 3): what can be dropped
    and leaves the rest impossible is dropped.

    Args:
        limits: All that was said.
        num_domains: Of the mixtures.

    Example:
        >>> def limit(name, row, lower, upper):
        ...     return NamedLimit((name,), name, np.array([row]), np.array([lower]),
        ...                       np.array([upper]))
        >>> said = [
        ...     limit("first", [1.0, 0.0], 0.6, 1.0),
        ...     limit("sum", [1.0, 1.0], 0.5, 1.0),
        ...     limit("second", [0.0, 1.0], 0.6, 1.0),
        ... ]
        >>> [found.sentence for found in conflict(said, 2)]
        ['first', 'second']
    """
    kept = list(limits)
    if _is_feasible(kept, num_domains):
        return []
    for limit in limits:
        rest = [other for other in kept if other is not limit]
        if not _is_feasible(rest, num_domains):
            kept = rest
    return kept


def _is_feasible(limits: Sequence[NamedLimit], num_domains: int) -> bool:
    if not limits:
        return True
    row_mk = np.vstack([limit.row_mk for limit in limits])
    lower_m = np.concatenate([limit.lower_m for limit in limits])
    upper_m = np.concatenate([limit.upper_m for limit in limits])
    has_lower_m, has_upper_m = np.isfinite(lower_m), np.isfinite(upper_m)
    result = linprog(
        np.zeros(num_domains),
        A_ub=np.vstack([row_mk[has_upper_m], -row_mk[has_lower_m]]),
        b_ub=np.concatenate([upper_m[has_upper_m], -lower_m[has_lower_m]]),
        A_eq=np.ones((1, num_domains)),
        b_eq=[1.0],
        bounds=(0.0, 1.0),
        method="highs",
    )
    return bool(result.status == 0)
