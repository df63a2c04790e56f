"""Which of several processes this one is, what the first tells the others, and sums over all.

Where `torch.distributed` has no process group there is one process, and nothing is sent.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dids.errors import InputError


def rank() -> int | None:
    """Number of this process; None where a run has no other."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    return torch.distributed.get_rank()


def num_ranks() -> int:
    """Number of processes."""
    return 1 if rank() is None else torch.distributed.get_world_size()


def is_first_rank() -> bool:
    """Whether this process writes what one alone may write."""
    return not rank()


_works_alone = False


def works_alone() -> bool:
    """Whether other ranks wait for this one, so that nothing may be asked of them."""
    return _works_alone


def from_first_rank(make: Callable[[], Any]) -> Any:  # noqa: ANN401
    """What a function gives on the first rank, on every rank; every rank must ask.

    Raises:
        InputError: On every rank, if the function raised one on the first.
    """
    if rank() is None:
        return make()
    answer: list[Any] = [None, None]
    if rank() == 0:
        with _alone():
            try:
                answer = [make(), None]
            except InputError as error:
                answer = [None, str(error)]
    torch.distributed.broadcast_object_list(answer, src=0)
    value, sentence = answer
    if sentence is not None:
        raise InputError(sentence)
    return value


@contextmanager
def _alone() -> Iterator[None]:
    global _works_alone
    before, _works_alone = _works_alone, True
    try:
        yield
    finally:
        _works_alone = before


def sum_over_ranks_(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over all ranks; every rank must ask, with the same shapes."""
    if rank() is None:
        return
    for tensor in tensors:
        if torch.distributed.get_backend() == "nccl" and not tensor.is_cuda:
            moved = tensor.to(torch.device("cuda", torch.cuda.current_device()))
            torch.distributed.all_reduce(moved)
            tensor.copy_(moved)
        else:
            torch.distributed.all_reduce(tensor)


def is_true_on_any_rank(claim: bool) -> bool:
    """Whether a claim holds on one rank or more; every rank must ask."""
    count = torch.tensor([int(claim)])
    sum_over_ranks_(count)
    return bool(count.item())
