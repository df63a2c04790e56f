"""opacus: ``GradSampleModule`` fills ``grad_sample``; then folded with random signs, or squared.

Axes: b samples, d feature dimensions.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.gradients.rivals.per_sample_loss import SignFold
from benchmarks.gradients.row import Row, Step
from benchmarks.gradients.subject import Batch, Subject
from dids.gradients import sample_losses


def per_sample_gradients(subject: Subject) -> Callable[[Batch], Iterator[tuple[str, Tensor]]]:
    """A function from a batch to name and ``[b, …]`` gradient of each parameter, one at a time."""
    from opacus import GradSampleModule

    model = subject.model_copy().train()  # it looks away in evaluation mode; there is no dropout
    wrapped = GradSampleModule(model, loss_reduction="sum", strict=False)

    def gradients(batch: Batch) -> Iterator[tuple[str, Tensor]]:
        torch.autograd.backward(sample_losses(wrapped, batch).sum())
        for name, parameter in model.named_parameters():
            yield name, parameter.grad_sample  # type: ignore[attr-defined]
            parameter.grad_sample = None  # type: ignore[attr-defined]
            parameter.grad = None

    return gradients


def features(dim: int) -> Callable[[Subject], Step]:
    """Folded with random signs."""

    def prepare(subject: Subject) -> Step:
        gradients, fold = per_sample_gradients(subject), SignFold(dim)

        def step(batch: Batch) -> Tensor:
            feature_bd = torch.zeros(len(batch["input_ids"]), dim, device=subject.device)
            for name, gradient in gradients(batch):
                fold.add_(feature_bd, name, gradient.flatten(1))
            return feature_bd

        return step

    return prepare


def fisher(subject: Subject) -> Step:
    """Squared, and averaged over the batch."""
    gradients = per_sample_gradients(subject)
    return lambda batch: {name: value.square_().mean(0) for name, value in gradients(batch)}


ROWS = (
    Row("opacus, sign fold, 1,024", "features", features(1024), 1024),
    Row("opacus, Fisher diagonal", "fisher", fisher),
)
