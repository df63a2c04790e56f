"""Weights that a user gives to domains by name or pattern, and the mixture they stand for.

Axis letters: k domains.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer

from dids.domains.name_patterns import fitting, no_such_name
from dids.errors import InputError


def checked_weights(weights: Any, field: str) -> dict[str, float]:  # noqa: ANN401
    """A user's weights by name or pattern.

    Args:
        weights: What stands in the config.
        field: Where, for the sentence.

    Raises:
        ValueError: If it is no mapping to numbers of zero or more, some of them above zero.

    Example:
        >>> checked_weights({"web": 3, "code/*": 1.5}, "weights")
        {'web': 3.0, 'code/*': 1.5}
    """
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(
            f"{field} must be a mapping from names or patterns of domains to numbers, such as "
            f"{{web: 0.7, 'code/*': 0.3}}, but it is {weights!r}."
        )
    for pattern, weight in weights.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0.0 <= weight < math.inf:
            raise ValueError(
                f"{field}.{pattern} must be a number of zero or more, but it is {weight!r}."
            )
    if not any(weights.values()):
        raise ValueError(f"{field} are all zero; give one of them a weight above it.")
    return {str(pattern): float(weight) for pattern, weight in weights.items()}


def weighted_mixture(
    weights: Mapping[str, float],
    domain_names: Sequence[str],
    sizes_k: Integer[np.ndarray, " k"],
    field: str,
) -> Float64[np.ndarray, " k"]:
    """The mixture in which names and patterns have shares in proportion to their weights.

    What a pattern fits shares its weight by numbers of samples. A domain that several fit belongs
    to its own name, else to the longest pattern; one that none fits gets nothing.

    Raises:
        InputError: If a name or pattern fits no domain, or none that is left to it.

    Example:
        >>> names, sizes = ["code/0", "code/1", "web"], np.array([30, 10, 60])
        >>> weighted_mixture({"web": 0.2, "code/*": 0.8}, names, sizes, "weights").round(3)
        array([0.6, 0.2, 0.2])
    """
    owner_k = [""] * len(domain_names)
    for pattern in sorted(weights, key=lambda each: (each in domain_names, len(each), each)):
        found = fitting(pattern, domain_names)
        if not found:
            raise InputError(f"{field}.{pattern}: {no_such_name(pattern, domain_names, 'domain')}")
        for domain in found:
            owner_k[domain] = pattern
    share_k = np.zeros(len(domain_names))
    for pattern, weight in weights.items():
        owned_k = np.array([owner == pattern for owner in owner_k])
        if not owned_k.any():
            raise InputError(
                f"{field}.{pattern}: every domain that it fits has a longer pattern or its own "
                "name; leave it out."
            )
        size = sizes_k[owned_k].sum()
        if size == 0 and weight > 0:
            raise InputError(f"{field}.{pattern}: no domain that it fits has a sample.")
        share_k[owned_k] = weight * sizes_k[owned_k] / max(size, 1)
    return np.asarray(share_k / share_k.sum())
