"""Counter-based random bits: the same words in, the same bits out, with no state in between.

A generator that is advanced draw by draw has to be replayed to resume; a hash of (seed, step, slot)
does not. The mixing is SplitMix64's finalizer (Steele et al. 2014, doi:10.1145/2660193.2660195),
which numpy versions cannot change under a run that resumes.
"""

from typing import Any

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_WORD = 2**64


def mixed(bits: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: a bijection of words that flips half of the bits on any change.

    Args:
        bits: Array of uint64. An array, not a scalar: numpy warns when a scalar wraps around.

    Returns:
        Array of uint64 of the same shape.
    """
    spare = bits >> np.uint64(30)
    spare ^= bits
    spare *= _FIRST
    again = spare >> np.uint64(27)
    spare ^= again
    spare *= _SECOND
    np.right_shift(spare, np.uint64(31), out=again)
    spare ^= again
    return np.asarray(spare)


def random_bits(*words: int | np.integer[Any] | np.ndarray) -> np.ndarray:
    """64 random bits for every element of the broadcast words.

    Args:
        words: Integers or integer arrays that broadcast against each other, most significant first,
            such as ``random_bits(seed, step, np.arange(8))``.

    Returns:
        Array of uint64, at least one-dimensional.

    Example:
        >>> bool((random_bits(0, 1, np.arange(3)) == random_bits(0, 1, np.arange(3))).all())
        True
    """
    bits = np.zeros(1, dtype=np.uint64)
    for word in words:
        bits = more_random_bits(bits, word)
    return bits


def more_random_bits(bits: np.ndarray, word: int | np.integer[Any] | np.ndarray) -> np.ndarray:
    """What ``random_bits(*words, word)`` gives, from what ``random_bits(*words)`` gave.

    Example:
        >>> bool(more_random_bits(random_bits(3, 4), 5)[0] == random_bits(3, 4, 5)[0])
        True
    """
    if isinstance(word, np.ndarray):
        word_bits = word.astype(np.uint64)
    else:
        word_bits = np.array([int(word) % _WORD], dtype=np.uint64)
    return mixed(bits + _GOLDEN + mixed(word_bits + _GOLDEN))
