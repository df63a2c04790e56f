"""``vmap(grad)`` of ``torch.func``: whole per-sample gradients of all parameters at once.

Axes: b samples, t tokens, d feature dimensions.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from benchmarks.gradients.rivals.per_sample_loss import SignFold, loss_of_ids
from benchmarks.gradients.row import Row, Step
from benchmarks.gradients.subject import Batch, Subject


class _Loss(nn.Module):
    """``functional_call`` wants a module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids_t: Tensor) -> Tensor:
        """One sample's loss."""
        return loss_of_ids(self.model, ids_t.unsqueeze(0))[0]


def per_sample_gradients(model: nn.Module) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function from ids ``[b, t]`` to the gradients of all parameters by name, ``[b, …]``."""
    loss = _Loss(model)
    # Eager attention: under vmap the fused kernel is taken apart into the same steps.
    model.config._attn_implementation = "eager"  # type: ignore[union-attr]
    parameters = {name: parameter.detach() for name, parameter in loss.named_parameters()}
    gradient_of = vmap(
        grad(lambda weights, ids_t: functional_call(loss, weights, (ids_t,))), in_dims=(None, 0)
    )

    def gradients(ids_bt: Tensor) -> dict[str, Tensor]:
        by_name = cast(dict[str, Tensor], gradient_of(parameters, ids_bt))
        return {name.removeprefix("model."): value for name, value in by_name.items()}

    return gradients


def features(dim: int) -> Callable[[Subject], Step]:
    """Folded with random signs."""

    def prepare(subject: Subject) -> Step:
        gradients, fold = per_sample_gradients(subject.model_copy()), SignFold(dim)

        def step(batch: Batch) -> Tensor:
            feature_bd = torch.zeros(len(batch["input_ids"]), dim, device=subject.device)
            for name, gradient in gradients(batch["input_ids"]).items():
                fold.add_(feature_bd, name, gradient.flatten(1))
            return feature_bd

        return step

    return prepare


def fisher(subject: Subject) -> Step:
    """Squared, and averaged over the batch."""
    gradients = per_sample_gradients(subject.model_copy())

    def step(batch: Batch) -> dict[str, Tensor]:
        by_name = gradients(batch["input_ids"])
        return {name: gradient.square_().mean(0) for name, gradient in by_name.items()}

    return step


ROWS = (
    Row("vmap(grad), sign fold, 1,024", "features", features(1024), 1024),
    Row("vmap(grad), Fisher diagonal", "fisher", fisher),
)
