"""Training with parameters that FSDP2 divides over ranks, as Accelerate and the Trainer do it.

Checkpoints are those of a training without it, whole: they go on with any number of ranks, sharded
or not. The weights are read before the model is divided, the optimizer's state when it is.
"""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from safetensors.torch import load_file
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from dids.errors import InputError
from dids.gradients.shards import is_shard, on_first_rank
from dids.ranks import is_first_rank
from dids.training.refusals import refusals_in_one_sentence
from dids.training.trainer import DidsTrainer

_VARIABLES = "ACCELERATE_USE_FSDP", "FSDP_CPU_RAM_EFFICIENT_LOADING"


class ShardingTrainer(DidsTrainer):
    """`DidsTrainer` that shards where ``TrainingArguments.fsdp`` says so, on a CPU as well."""

    def create_accelerator_and_postprocess(self) -> None:
        """The Trainer's own; Accelerate takes FSDP off a CPU without a word, where it works too."""
        before = {name: os.environ.get(name) for name in _VARIABLES}
        super().create_accelerator_and_postprocess()
        for name, value in before.items():  # the process goes on to train what is not sharded
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        state = self.accelerator.state
        if self.args.fsdp_plugin_args and state.distributed_type == DistributedType.MULTI_CPU:
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            if self.args.bf16:
                state.fsdp_plugin.set_mixed_precision("bf16")
            state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
            self.is_fsdp_enabled = True

    def train(
        self,
        resume_from_checkpoint: str | Path | bool | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:  # noqa: ANN401
        """The Trainer's own, from a checkpoint that is whole.

        Raises:
            InputError: If the model has no such layers as are to be sharded, or the arguments ask
                for a package that is not installed.
        """
        if self.is_fsdp_enabled:
            assert isinstance(self.model, nn.Module)
            asked = self.accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap
            _check_layers(self.model, asked or [])
            if isinstance(resume_from_checkpoint, str):
                _load_weights(self.model, Path(resume_from_checkpoint))
        with refusals_in_one_sentence(ImportError):
            return super().train(resume_from_checkpoint, *args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The Trainer's own.

        Raises:
            InputError: If it cannot be made with these arguments.
        """
        with refusals_in_one_sentence(TypeError, ValueError, of="the optimizer"):
            optimizer: Optimizer = super().create_optimizer(model)
        return optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: Optimizer | None = None
    ) -> LRScheduler:
        """The Trainer's own.

        Raises:
            InputError: If it cannot be made with these arguments.
        """
        with refusals_in_one_sentence(TypeError, ValueError, of="the schedule"):
            return super().create_scheduler(num_training_steps, optimizer)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The Trainer's own, with weights called as the model calls them.

        In files of Transformers some have names of old (GPT-NeoX's head is ``embed_out``), which
        the Trainer does not find again when it goes on: without a word the head was a new one.
        """
        model: Any = self.model
        model.save_pretrained = partial(model.save_pretrained, save_original_format=False)
        try:
            super().save_model(output_dir, _internal_call)
        finally:
            del model.save_pretrained

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        if not self.is_fsdp_enabled:  # else they are there
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        assert self.optimizer is not None and self.lr_scheduler is not None
        state = _whole(self.optimizer.state_dict())
        if is_first_rank():
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.is_fsdp_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
        elif checkpoint is not None:
            assert self.optimizer is not None and self.lr_scheduler is not None
            folder = Path(checkpoint)
            _load_state(self.optimizer, _loaded(folder / OPTIMIZER_NAME))
            self.lr_scheduler.load_state_dict(_loaded(folder / SCHEDULER_NAME))


def _check_layers(model: nn.Module, asked: Sequence[str]) -> None:
    known = {type(module).__name__ for module in model.modules()}
    for name in asked:
        if name not in known:
            nearest = get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]
            raise InputError(
                f"training.fsdp_config.transformer_layer_cls_to_wrap: {type(model).__name__} has "
                f"no layer of class {name}; did you mean {nearest}?"
            )


def _load_weights(model: nn.Module, checkpoint: Path) -> None:
    """Read the weights of a model that is not sharded yet; tied ones are there once."""
    for path in sorted(checkpoint.glob("model*.safetensors")):
        strangers = model.load_state_dict(load_file(path), strict=False).unexpected_keys
        if strangers:
            raise InputError(f"{path}: it has {strangers[0]}, which the model has not.")


def _loaded(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _whole(state: Any) -> Any:  # noqa: ANN401
    """The state of an optimizer of sharded parameters, whole on the first rank."""
    if isinstance(state, dict):
        return {name: _whole(value) for name, value in state.items()}
    return on_first_rank(state) if isinstance(state, torch.Tensor) else state


def _load_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Give an optimizer of sharded parameters the state of whole ones."""
    from torch.distributed.tensor import distribute_tensor

    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    for number, by_name in state["state"].items():
        like = parameters[number]
        for name, value in by_name.items():
            if is_shard(like) and value.shape == like.shape:
                by_name[name] = distribute_tensor(
                    value.to(like.device), like.device_mesh, like.placements, src_data_rank=None
                )
    optimizer.load_state_dict(state)
