"""What the loss that a Trainer differentiates multiplies each scored token's by.

A Trainer leaves it to whatever makes the loss to divide by the scored tokens of the whole step,
``num_items_in_batch``; one of the user's own may take the mean of its micro-batch all the same.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from dids.gradients.losses import mean_per_token
from dids.ranks import sum_over_ranks_

logger = logging.getLogger(__name__)

Items = Tensor | int | None
"""Scored tokens of a step over all its micro-batches and processes, as a Trainer says it."""

_IS_DIVIDED = 0.9
"""A loss that is divided halves where the tokens double; what is added to it (a router's) stays."""
_TRUSTED = ("transformers", "trl")


class LossScale:
    """Finds out whether a Trainer's loss is divided by the tokens of its whole step.

    It does so once, in the first step, by asking for the loss of a micro-batch with a number of
    tokens and with twice as many. Transformers' and TRL's own losses are known to be divided.

    Args:
        trainer: Its ``compute_loss`` is called.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._is_divided = True
        self._is_known = False

    def look(self, model: nn.Module, inputs: Mapping[str, Any], num_items_in_batch: Items) -> None:
        """Find it out, where it is not known yet; every rank must ask, in the same micro-batches.

        Args:
            model: As the Trainer calls it, wrapped or not.
            inputs: A micro-batch, which stays as it is.
            num_items_in_batch: As the Trainer has counted it.
        """
        if self._is_known or num_items_in_batch is None:
            return
        if _is_trusted(self._trainer):
            self._is_known = True
            return
        once, twice = self._losses(model, inputs, num_items_in_batch)
        if once == 0.0:
            return  # nothing is scored here; the next micro-batch tells
        self._is_known = True
        self._is_divided = not (math.isfinite(twice) and twice > _IS_DIVIDED * once)
        accumulation = int(self._trainer.args.gradient_accumulation_steps)
        if self._is_divided or accumulation == 1 or self._divides_by_accumulation(True):
            return
        logger.warning(
            "compute_loss gives a micro-batch's mean, whatever num_items_in_batch is, and the "
            "Trainer takes it for divided already: gradients are %d times as large as a step's "
            "mean has them. Say trainer.model_accepts_loss_kwargs = False, or divide the sum by "
            "num_items_in_batch.",
            accumulation,
        )  # fmt: skip

    def per_token(self, labels_bt: Tensor | None, num_items_in_batch: Items) -> float:
        """What a scored token's loss is multiplied by, after mixed precision's own factor.

        Args:
            labels_bt: Of the micro-batch.
            num_items_in_batch: As the Trainer has counted it; None where nobody asked.
        """
        args, accelerator = self._trainer.args, self._trainer.accelerator
        factor = 1.0 if accelerator.scaler is None else float(accelerator.scaler.get_scale())
        is_given = num_items_in_batch is not None
        if self._divides_by_accumulation(is_given):
            factor /= int(args.gradient_accumulation_steps)
        if not is_given or not self._is_divided:
            assert labels_bt is not None, "gradients are read of batches with labels"
            return factor * mean_per_token(labels_bt)
        if args.average_tokens_across_devices:
            factor *= accelerator.num_processes
        return factor / float(num_items_in_batch)  # type: ignore[arg-type]

    def _divides_by_accumulation(self, is_given: bool) -> bool:
        """Whether the Trainer divides what ``compute_loss`` gives by a step's micro-batches."""
        trainer = self._trainer
        is_scaled = getattr(trainer, "loss_is_scaled_for_ga", None)  # newer Transformers'
        if is_scaled is None:
            has_function = trainer.compute_loss_func is not None
            is_scaled = has_function or (trainer.model_accepts_loss_kwargs and is_given)
        return not is_scaled

    def _losses(
        self, model: nn.Module, inputs: Mapping[str, Any], num_items: Tensor | int
    ) -> tuple[float, float]:
        """The loss with so many tokens and with twice as many, summed over ranks."""
        prepared = self._trainer._prepare_inputs(dict(inputs))
        model.train()
        losses = torch.stack(
            [self._loss(model, prepared, num_items), self._loss(model, prepared, 2 * num_items)]
        )
        sum_over_ranks_(losses)
        once, twice = losses.tolist()
        return once, twice

    @torch.no_grad()
    def _loss(self, model: nn.Module, inputs: Mapping[str, Any], num_items: Tensor | int) -> Tensor:
        """With dropout that the training's random numbers know nothing of, each time the same."""
        trainer = self._trainer
        device = trainer.args.device
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(model, dict(inputs), num_items_in_batch=num_items)
        assert isinstance(loss, Tensor)
        return loss.detach().double().cpu()


def _is_trusted(trainer: Trainer) -> bool:
    """Whether the loss is made by what is known to divide it."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "get_base_model"):  # peft's
        model = model.get_base_model()
    trainers = type(trainer).__mro__
    makers = [next(kind for kind in trainers if "compute_loss" in vars(kind)), type(model)]
    are_known = all(kind.__module__.partition(".")[0] in _TRUSTED for kind in makers)
    return are_known and not callable(trainer.compute_loss_func)  # TRL may set a word
