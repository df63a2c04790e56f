"""How many columns the input side of each matrix is projected to.

A few matrices hold most of a gradient: of a small Llama trained for 200 steps, five of 56 hold nine
tenths of its squared length. What one column more is worth falls with the square of the columns
that there are, so the matrices that hold much get many, and the others two.
"""

from collections.abc import Mapping

LEAST = 2
"""One direction and one random column."""


def allotted_columns(
    share: Mapping[str, float], shape: Mapping[str, tuple[int, int]], mean: int
) -> dict[str, int]:
    """Columns for every matrix, so that ``Σ share / columns`` is small at the cost of a mean.

    A column costs a matrix's rows and columns together: what its input is multiplied by, and what
    is folded. Greedy: the doubling that takes most of the error for its cost comes first, as long
    as one fits into the budget.

    Args:
        share: Of a gradient's squared length that lies in a matrix, by parameter.
        shape: Its rows and columns.
        mean: Columns of every matrix at the cost of which all are to be had, at least ``LEAST``.

    Returns:
        A power of two for each, so that a last bit of a share rarely changes one; or the columns of
        a matrix that has no more.

    Example:
        >>> allotted_columns({"a": 0.9, "b": 0.1}, {"a": (64, 64), "b": (64, 64)}, 5)
        {'a': 8, 'b': 2}
    """
    price = {name: rows + columns for name, (rows, columns) in shape.items()}
    found = {name: min(LEAST, shape[name][1]) for name in share}
    left = sum((mean - found[name]) * price[name] for name in share)

    def doubled(name: str) -> int:
        return min(2 * found[name], shape[name][1])

    def gain(name: str) -> float:
        after = 0.0 if doubled(name) == shape[name][1] else share[name] / doubled(name)
        cost = (doubled(name) - found[name]) * price[name]
        return (share[name] / found[name] - after) / cost

    growing = [name for name in share if found[name] < shape[name][1] and share[name] > 0.0]
    while growing:
        best = max(growing, key=gain)
        cost = (doubled(best) - found[best]) * price[best]
        if cost > left:
            growing.remove(best)
            continue
        left -= cost
        found[best] = doubled(best)
        if found[best] == shape[best][1]:
            growing.remove(best)
    return found
