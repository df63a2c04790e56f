"""The Hugging Face Trainer with a mixture that follows the run; a mixin, for any subclass of it."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_utils import get_last_checkpoint

from dids.data.domain_dataset import DOMAIN
from dids.data.joined_row import LENGTHS
from dids.errors import InputError
from dids.training.checkpoints import newest_complete, refuse_damaged
from dids.training.loss_scale import LossScale
from dids.training.mixture_callback import MixtureCallback
from dids.training.schedule import follow_tokens
from dids.training.task_losses import TaskLosses


class DidsMixin:
    """Draws batches from a mixture and logs every domain's and every task's loss.

    Put it before a Trainer: ``class DidsTrainer(DidsMixin, Trainer)``, or TRL's ``SFTTrainer``. The
    data set must be map-style and its indices those of the sampler. Evaluation sets that are given
    by name (``eval_dataset={"gsm8k": ...}``) are tasks: ``task_loss/gsm8k`` is of the Trainer's
    own pass over the set.

    Args:
        mixture: The callback that has the mixture; it is added to the Trainer's.
        log_domains: Whether the Trainer's logs get ``domain_loss/NAME``, ``task_loss/NAME`` and
            what the mixture says of itself. It costs nothing where the model's loss is a plain
            cross entropy, else reading the logits once more, and no forward pass.

    Raises:
        InputError: If the Trainer would pack or shuffle samples across domains, needs each of them
            several times in a batch (GRPO, RLOO), or would choose or divide batches by itself.
    """

    def __init__(
        self, *args: Any, mixture: MixtureCallback, log_domains: bool = True, **kwargs: Any
    ) -> None:
        for settings in (*args, *kwargs.values()):
            _refuse(settings)
        super().__init__(*args, **kwargs)
        self.mixture = mixture
        self.log_domains = log_domains
        self._task = TaskLosses()
        self._loss_scale = LossScale(self)  # type: ignore[arg-type]
        self.add_callback(mixture)  # type: ignore[attr-defined]

    def train(
        self,
        resume_from_checkpoint: str | Path | bool | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:  # noqa: ANN401
        """The Trainer's ``train``; the mixture resumes from the same checkpoint.

        ``True`` is the newest one in the output folder that was written to its end and is as it
        was written.

        Raises:
            InputError: If the checkpoint is damaged.
        """
        if resume_from_checkpoint is True:
            folder = self.args.output_dir  # type: ignore[attr-defined]
            complete = newest_complete(Path(folder))
            last = get_last_checkpoint(folder)  # type: ignore[no-untyped-call]
            if complete is None and last is not None:
                refuse_damaged(Path(last))
            resume_from_checkpoint = True if complete is None else str(complete)
        elif isinstance(resume_from_checkpoint, str | Path):
            resume_from_checkpoint = str(resume_from_checkpoint)
            if not self.mixture.is_resumed:
                refuse_damaged(Path(resume_from_checkpoint))
        named = isinstance(resume_from_checkpoint, str)
        self.mixture.checkpoint = Path(str(resume_from_checkpoint)) if named else None
        return super().train(resume_from_checkpoint, *args, **kwargs)  # type: ignore[misc]

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """The Trainer's, but what is too old stays until the new one is complete.

        The Trainer goes by the files' times, and takes the one that it has just written for the
        oldest where a clock was set back; see ``MixtureCallback.on_save``.
        """
        settings = self.args  # type: ignore[attr-defined]
        limit, settings.save_total_limit = settings.save_total_limit, None
        try:
            return super()._save_checkpoint(*args, **kwargs)  # type: ignore[misc]
        finally:
            settings.save_total_limit = limit

    def get_train_dataloader(self) -> DataLoader[Any]:
        """A loader whose batches are planned step by step, from the step of the resumed run."""
        dataset, collate = self.train_dataset, self.data_collator  # type: ignore[attr-defined]
        accelerator = self.accelerator  # type: ignore[attr-defined]
        if accelerator.split_batches and accelerator.num_processes > 1:
            raise InputError(
                "training: split_batches would divide batches over processes that are of one "
                "process already; leave it out of accelerator_config."
            )
        # As the Trainer itself does it; TRL says through these which columns it needs.
        if hasattr(dataset, "remove_columns"):
            dataset = self._remove_unused_columns(dataset, description="training")  # type: ignore[attr-defined]
        else:
            collate = self._get_collator_with_removed_columns(collate, description="training")  # type: ignore[attr-defined]
        if self.mixture.takes_data:
            self.mixture.take_data(dataset, self._tasks(), collate)
        loader = self.mixture.loader(
            self.args,  # type: ignore[attr-defined]
            dataset,
            collate,
            with_domains=self.log_domains or self.mixture.reads_losses,
        )
        prepared: DataLoader[Any] = accelerator.prepare(loader)
        return prepared

    def create_scheduler(
        self, num_training_steps: int, optimizer: Optimizer | None = None
    ) -> LRScheduler:
        """The Trainer's own schedule; read by tokens where the mixture's run is one of tokens."""
        by_tokens = self.mixture.token_schedule()
        steps, progress = (num_training_steps, None) if by_tokens is None else by_tokens
        scheduler: LRScheduler = super().create_scheduler(steps, optimizer)  # type: ignore[misc]
        return scheduler if progress is None else follow_tokens(scheduler, progress, steps)

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """One micro-batch, as the Trainer does it; what it shows of its domains is kept."""
        seen = dict(inputs)
        domain_b = inputs.pop(DOMAIN, None)
        inputs.pop(LENGTHS, None)
        if self.mixture.reads_gradients:
            self._loss_scale.look(model, inputs, num_items_in_batch)
        per_token = partial(self._loss_scale.per_token, inputs.get("labels"), num_items_in_batch)
        with (
            self.mixture.collecting(seen, per_token),
            self.mixture.losses.recording(model, inputs, domain_b),
        ):
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
        if self.mixture.refuses_bad_losses and not math.isfinite(loss.item()):
            step = self.state.global_step  # type: ignore[attr-defined]
            rate = self.args.learning_rate  # type: ignore[attr-defined]
            raise InputError(
                f"training: the loss turned {loss.item()} at step {step}; lower "
                "training.learning_rate "
                f"(now {rate}), or train in float32 or bfloat16."
            )
        return loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:  # noqa: ANN401
        """One batch of an evaluation, as the Trainer does it; what it shows of its task is kept."""
        if not self.log_domains:
            return super().prediction_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
        inputs = self._prepare_inputs(inputs)  # type: ignore[attr-defined]
        state = self.accelerator.gradient_state  # type: ignore[attr-defined]
        with self._task.recording(model, inputs.get("labels"), state):
            return super().prediction_step(model, inputs, *args, **kwargs)  # type: ignore[misc]

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:  # noqa: ANN401
        """The Trainer's pass over an evaluation set; one with a name is a task and has its loss."""
        self._task = TaskLosses()
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)  # type: ignore[misc]
        if self.log_domains and metric_key_prefix.startswith("eval_"):
            loss = self._task.mean()
            if loss is not None:
                output.metrics[f"task_loss/{metric_key_prefix.removeprefix('eval_')}"] = loss
        return output

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The Trainer's log, with every domain's loss since the last one, over all ranks."""
        if self.log_domains and "loss" in logs:
            step = self.state.global_step  # type: ignore[attr-defined]
            means = self.mixture.losses.means_since_last("log")
            for name, mean in zip(self.mixture.domain_names, means, strict=True):
                if mean is not None:
                    logs[f"domain_loss/{name}"] = mean
            logs.update(self.mixture.scalars(step))
        super().log(logs, start_time)  # type: ignore[misc]

    def _tasks(self) -> dict[str, Any]:
        """The evaluation sets that have names, as their loaders would read them."""
        sets = self.eval_dataset  # type: ignore[attr-defined]
        if not isinstance(sets, Mapping):
            return {}
        return {
            str(name): self._remove_unused_columns(dataset, description="evaluation")  # type: ignore[attr-defined]
            if hasattr(dataset, "remove_columns")
            else dataset
            for name, dataset in sets.items()
        }


def _refuse(settings: object) -> None:
    """Refuse arguments of a Trainer by which batches would not be those that a mixture plans."""
    repeats = getattr(settings, "num_generations", None)
    if isinstance(repeats, int) and repeats > 1:
        raise InputError(
            f"training: num_generations ({repeats}) asks for batches that have each prompt as "
            "often, which a mixture's do not; mix the prompts into one data set before the "
            "training instead."
        )
    for name, what in _REFUSED.items():
        if getattr(settings, name, False) is True:
            raise InputError(f"training: {name} would {what}.")


_REFUSED = {
    "packing": "join or move samples of several domains; pack each domain before they are "
    "concatenated, and leave packing=False",
    "shuffle_dataset": "join or move samples of several domains; the sampler has an order of its "
    "own, so leave shuffle_dataset=False",
    "auto_find_batch_size": "change the size of steps that the mixture has planned; say it by "
    "per_device_train_batch_size and gradient_accumulation_steps, and leave "
    "auto_find_batch_size=False",
}


class DidsTrainer(DidsMixin, Trainer):
    """``transformers.Trainer`` with a mixture that follows the run."""
