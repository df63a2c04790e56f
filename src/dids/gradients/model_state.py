"""Borrowing a model and giving it back as it was: evaluation mode, frozen weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

import torch
from torch import nn

from dids.errors import InputError
from dids.gradients.shards import is_sharded, reshard
from dids.ranks import works_alone


class SumsLike(TypedDict):
    """Arguments of a tensor that sums gradients up."""

    dtype: torch.dtype
    device: torch.device


def sums_like(model: nn.Module) -> SumsLike:
    """Float64 for a float64 model, float32 for every other, on the model's device."""
    like = next(model.parameters())
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return {"dtype": dtype, "device": like.device}


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Dropout off for the duration, every module's own flag restored after, also on exception.

    Sharded parameters are shards at both ends, whatever passes leave whole.

    Args:
        model: The model to borrow.

    Yields:
        Nothing.

    Raises:
        InputError: If parameters are sharded over ranks that wait for this one.
    """
    if works_alone() and is_sharded(model):
        raise InputError(
            "the model's parameters are sharded over ranks, so its passes need all of them, but "
            "this is asked on the first rank alone (a policy is); train without FSDP, or with a "
            "policy that does not run the model."
        )
    was_training = [(module, module.training) for module in model.modules()]
    reshard(model)
    try:
        model.eval()
        yield
    finally:
        for module, flag in was_training:
            module.training = flag
        reshard(model)


@contextmanager
def frozen_weights(model: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient for the duration; the flags are restored after.

    Weight gradients are a third of a training step; who only wants what flows between the layers
    need not pay for them.

    Args:
        model: The model to borrow.

    Yields:
        Nothing.
    """
    was_asking = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in was_asking:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in was_asking:
            parameter.requires_grad_(flag)
