"""Numbers of all domains as short JSON values: a text of whole numbers, a text of exact floats.

A JSON list of 24 weights takes 500 bytes, and indented it takes a line for each; bits of float64 in
base64 take 256 and lose nothing.

Axis letters: k domains.
"""

import base64
import json

import numpy as np
from jaxtyping import Float64, Int64


def whole_numbers_text(number_k: Int64[np.ndarray, " k"]) -> str:
    """Whole numbers with a space between.

    Example:
        >>> whole_numbers_text(np.array([12, -5]))
        '12 -5'
    """
    return " ".join(map(str, number_k.tolist()))


def whole_numbers(text: str) -> Int64[np.ndarray, " k"]:
    """What ``whole_numbers_text`` was made from."""
    return np.array([int(number) for number in text.split()], dtype=np.int64)


def short_floats(number_k: Float64[np.ndarray, " k"]) -> list[float] | str:
    """Floats as a list, or where it is shorter their bits in base64 (little-endian float64).

    Example:
        >>> short_floats(np.array([0.25, 0.75])), short_floats(np.array([1 / 3, 2 / 3]))
        ([0.25, 0.75], 'VVVVVVVV1T9VVVVVVVXlPw==')
    """
    numbers: list[float] = number_k.tolist()
    bits = base64.b64encode(number_k.astype("<f8").tobytes()).decode("ascii")
    return numbers if len(json.dumps(numbers)) <= len(json.dumps(bits)) else bits


def exact_floats(saved: list[float] | str) -> Float64[np.ndarray, " k"]:
    """What ``short_floats`` was made from, to the last bit."""
    if isinstance(saved, str):
        return np.frombuffer(base64.b64decode(saved), dtype="<f8").astype(np.float64)
    return np.array(saved, dtype=np.float64)
