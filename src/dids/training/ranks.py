"""Which of several processes this one is, and what the first one tells the others."""

from collections.abc import Callable
from typing import Any

import torch

from dids.errors import InputError


def rank() -> int | None:
    """Number of this process; None where a run has no other."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    return torch.distributed.get_rank()


def from_first_rank(make: Callable[[], Any]) -> Any:  # noqa: ANN401
    """What a function gives on the first rank, on every rank; every rank must ask.

    Raises:
        InputError: On every rank, if the function raised one on the first.
    """
    if rank() is None:
        return make()
    answer: list[Any] = [None, None]
    if rank() == 0:
        try:
            answer = [make(), None]
        except InputError as error:
            answer = [None, str(error)]
    torch.distributed.broadcast_object_list(answer, src=0)
    value, sentence = answer
    if sentence is not None:
        raise InputError(sentence)
    return value
