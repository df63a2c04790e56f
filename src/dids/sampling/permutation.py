"""Seeded permutations that are computed item by item and never stored.

A Feistel network over a grid of ``height x width >= size`` cells is a bijection for whatever round
function; a result outside ``size`` goes through it again until it falls inside (Black and Rogaway
2002, "Ciphers with arbitrary finite domains"). So the i-th sample of a domain's fifth epoch costs
the same as the first of its first, and memory does not grow with the number of samples.
"""

import numpy as np
from jaxtyping import Int64, UInt64

from dids.sampling.random_bits import random_bits

# Four rounds make a Feistel network pseudorandom; eight leave no visible order in domains of two or
# three samples either.
_ROUND_KEYS = random_bits(np.arange(8))
# One multiplication a round instead of the whole hash: the rounds mix too, and it halves the time.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_HALF = np.uint64(32)


def permuted(
    position_b: Int64[np.ndarray, " b"],
    size_b: Int64[np.ndarray, " b"],
    key_b: UInt64[np.ndarray, " b"],
) -> Int64[np.ndarray, " b"]:
    """Where a keyed permutation of ``range(size)`` sends each position.

    Args:
        position_b: Positions, each in ``range(size)`` of its own permutation.
        size_b: Size of the permutation that each position belongs to; below 2**62.
        key_b: Key of that permutation. Equal keys and sizes are the same permutation.

    Returns:
        The image of every position, in ``range(size)``.

    Example:
        >>> size, key = np.full(5, 5), np.full(5, 7, dtype=np.uint64)
        >>> sorted(permuted(np.arange(5), size, key).tolist())
        [0, 1, 2, 3, 4]
    """
    limit_b = size_b.astype(np.uint64)
    height_b = np.ceil(np.sqrt(size_b.astype(np.float64))).astype(np.uint64)
    width_b = (limit_b + height_b - np.uint64(1)) // np.maximum(height_b, np.uint64(1))
    image_b = _network(position_b.astype(np.uint64), height_b, width_b, key_b)
    outside = np.flatnonzero(image_b >= limit_b)
    while len(outside) > 0:
        image_b[outside] = _network(
            image_b[outside], height_b[outside], width_b[outside], key_b[outside]
        )
        outside = outside[image_b[outside] >= limit_b[outside]]
    return image_b.astype(np.int64)


def _network(
    cell: np.ndarray, height: np.ndarray, width: np.ndarray, key: np.ndarray
) -> np.ndarray:
    """One pass of the network over cells ``row * width + column``."""
    row, column = np.divmod(cell, width)
    for number, round_key in enumerate(_ROUND_KEYS):
        if number % 2 == 0:
            row = _shifted(row, column, key ^ round_key, height)
        else:
            column = _shifted(column, row, key ^ round_key, width)
    return np.asarray(row * width + column)


def _shifted(
    value: np.ndarray, other: np.ndarray, key: np.ndarray, modulus: np.ndarray
) -> np.ndarray:
    """``(value + number) mod modulus``, the number a hash of the other half and the key."""
    # In place: half of the time would go into fresh arrays.
    bits = other * _GOLDEN
    bits += key
    spare = bits >> _HALF
    bits ^= spare
    bits *= _FACTOR
    bits >>= _HALF
    bits *= modulus
    bits >>= _HALF
    bits += value
    # Where the sum is below modulus the difference wraps around and is the larger of the two.
    np.subtract(bits, modulus, out=spare)
    return np.asarray(np.minimum(bits, spare, out=bits))
