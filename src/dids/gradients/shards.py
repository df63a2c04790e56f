"""Parameters that FSDP2 has divided over ranks: model and optimizer hold a shard of each.

Layers run with whole ones all the same, which are gathered around every layer's pass: every rank
must make the same passes, and what is read off activations never knows of shards.

Axes: o rows and i columns of a matrix.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from dids.ranks import is_first_rank, rank

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor
    from typing_extensions import TypeIs


def is_sharded(model: nn.Module) -> bool:
    """Whether a model's parameters are divided over ranks."""
    return bool(_fsdp_modules(model))


def reshard(model: nn.Module) -> None:
    """Let a model have its shards for parameters again, as the optimizer knows them.

    A pass without a backward pass leaves some whole, for the next one to use.
    """
    for module in _fsdp_modules(model):
        module.reshard()


def is_shard(tensor: Tensor) -> "TypeIs[DTensor]":
    """Whether a tensor is this rank's part of one."""
    if rank() is None:
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def whole(tensor: Tensor, columns: Int64[Tensor, " kept"] | None = None) -> Tensor:
    """A plain tensor of what may be a shard of it; of a shard, every rank must ask.

    Args:
        tensor: A parameter, its gradient, or what the optimizer keeps of it.
        columns: Of a matrix, or of many, the columns that are wanted; only they go over the
            network.
    """
    if not is_shard(tensor):
        return tensor if columns is None else tensor.index_select(-1, columns)
    if columns is None:
        return tensor.full_tensor()
    from torch.distributed.tensor import DTensor

    shape = torch.Size((*tensor.shape[:-1], len(columns)))
    part = tensor.to_local().index_select(-1, columns)
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        part, tensor.device_mesh, tensor.placements, shape=shape, stride=stride
    ).full_tensor()


def on_first_rank(tensor: Tensor) -> Tensor:
    """What is no shard, as it is; of a shard, the whole on the first rank's CPU, else nothing.

    Every rank must ask.
    """
    if not is_shard(tensor):
        return tensor
    found = whole(tensor)
    return found.cpu() if is_first_rank() else found.new_empty(0, device="cpu")


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """A sharded model's state, whole on the first rank's CPU; every rank must ask.

    Tied parameters share their memory, as they do in the model.
    """
    reshard(model)
    state = model.state_dict(keep_vars=True)
    found = {id(tensor): on_first_rank(tensor.detach()) for tensor in state.values()}
    return {name: found[id(tensor)] for name, tensor in state.items()}


@contextmanager
def as_its_own_class(model: nn.Module) -> Iterator[None]:
    """A sharded model under the class that it had, where FSDP2 has made one of another name.

    Libraries look up by the name how weights are called in files.
    """
    now = type(model)
    if is_sharded(model):
        model.__class__ = now.__mro__[2]  # behind the made one and FSDPModule
    try:
        yield
    finally:
        model.__class__ = now


def _fsdp_modules(model: nn.Module) -> list["FSDPModule"]:
    if rank() is None:
        return []
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]
