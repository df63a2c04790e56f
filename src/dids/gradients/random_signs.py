"""Random signs and orders that depend on a seed and a name alone: the same on every machine.

Drawn with NumPy's Philox, a counter-based generator whose raw stream is fixed by its key.
"""

import hashlib

import numpy as np
import torch
from jaxtyping import Int8, Integer
from torch import Tensor

_COMPILED = "_orig_mod."
_WRAPPERS = ("module.", _COMPILED)  # DDP's around a compiled model's


def philox(seed: int, name: str) -> np.random.Philox:
    """A stream of random bits that belongs to a name.

    Args:
        seed: The run's seed.
        name: What the numbers are for, for example a parameter's name; a compiled model's, or one
            wrapped for several processes, are those of the model inside.

    Returns:
        NumPy's counter-based bit generator.
    """
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    name = name.replace(f".{_COMPILED}", ".")
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little"))


def random_order(seed: int, name: str, count: int) -> Integer[np.ndarray, " count"]:
    """The numbers from 0 to ``count - 1`` in an order of a seed and a name.

    Args:
        seed: As of `philox`.
        name: As there.
        count: How many.
    """
    return np.argsort(philox(seed, name).random_raw(count), kind="stable")


def random_signs(seed: int, name: str, count: int) -> Int8[Tensor, " count"]:
    """Independent fair signs.

    Args:
        seed: The run's seed.
        name: What the signs are for.
        count: How many; a longer draw starts with the shorter one.

    Returns:
        Entries of -1 and 1.

    Example:
        >>> random_signs(0, "layer.weight", 6).abs().sum().item()
        6
    """
    words = philox(seed, name).random_raw(-(-count // 64))
    octets = np.frombuffer(words.astype("<u8").tobytes(), dtype=np.uint8)
    bits = np.unpackbits(octets, count=count, bitorder="little")
    return torch.from_numpy(bits.astype(np.int8) * 2 - 1)
