"""Where an audit starts: the proxy as impact saw it before training, or the newest checkpoint."""

from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel, Trainer, TrainingArguments

from dids.audit.checkpoint import Checkpoint
from dids.checksum import file_checksum
from dids.config.batch import training_arguments
from dids.errors import InputError
from dids.impact.preconditioner import SecondMoments
from dids.run.workspace import Workspace
from dids.training.checkpoints import newest_complete
from dids.training.models import saved_model
from dids.training.train import MOMENTS_NAME, trainer_arguments

StartingPoint = Literal["proxy", "train"]
_OPTIMIZER = "optimizer.pt"
_WEIGHTS = "model.safetensors"


def starting_folder(work: Workspace, at: StartingPoint) -> Path:
    """Where the model lies.

    Raises:
        InputError: If there is none.
    """
    if at == "proxy":
        return work.path("proxy") / "model"
    if work.config.model.lora is not None:
        raise InputError(
            "--at train: adapters (model.lora) are audited on the proxy alone; use --at proxy."
        )
    folder = newest_complete(work.path("train")) if work.path("train").exists() else None
    if folder is None:
        raise InputError(
            f"{work.path('train')}: there is no checkpoint to start from; `dids train "
            f"{work.folder.path}` makes some, or use --at proxy."
        )
    if not (folder / _OPTIMIZER).exists() or not (folder / _WEIGHTS).exists():
        raise InputError(
            f"{folder}: the model or its optimizer is in several pieces, which an audit does not "
            "put together; use --at proxy."
        )
    return folder


def starting_key(folder: Path) -> str:
    """A hash of the model that an audit starts from."""
    return file_checksum(folder / _WEIGHTS)


def starting_point(work: Workspace, at: StartingPoint, folder: Path) -> Checkpoint:
    """The model with the optimizer of the run's training, in the state that it had there.

    Of the proxy's optimizer the second moments alone are known; its momentum begins at zero, and it
    steps at the greatest learning rate. A checkpoint goes on at the rate that it was at.
    """
    asked = training_arguments(work.config)
    arguments = trainer_arguments(folder, asked, work.config.seed)
    model = saved_model(folder, work.device, trust_remote_code=work.config.trust_remote_code)
    model.train()
    optimizer = _optimizer(model, arguments)
    if at == "train":
        saved = torch.load(folder / _OPTIMIZER, map_location=work.device, weights_only=True)
        optimizer.load_state_dict(saved)
    else:
        moments = work.path("proxy") / MOMENTS_NAME
        if moments.exists():
            _give_moments(model, optimizer, SecondMoments.load(moments))
    return Checkpoint(model, optimizer, arguments.max_grad_norm, is_bf16=bool(arguments.bf16))


def _optimizer(model: PreTrainedModel, arguments: TrainingArguments) -> Optimizer:
    trainer = Trainer(model=model, args=arguments)
    return trainer.create_optimizer()


def _give_moments(model: nn.Module, optimizer: Optimizer, moments: SecondMoments) -> None:
    """Go on with second moments of before, which have seen so much that they move no more.

    Optimizers that keep them in other forms than PyTorch's Adam begin with none.
    """
    if not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        settled = 10.0 / (1.0 - group["betas"][1])  # steps: the bias is corrected by e^-10
        for parameter in group["params"]:
            moment = moments.by_name.get(names[parameter])
            if moment is not None:
                optimizer.state[parameter] = {
                    "step": torch.tensor(settled),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": moment.to(parameter),
                }
