"""The plain passes, and what this package does."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from benchmarks.gradients.row import FISHER_BATCHES, PLAIN, PLAIN_BF16, TRAINING, Row, Step
from benchmarks.gradients.subject import Batch, Subject
from dids.gradients import (
    Coordinates,
    GroupedGradients,
    LiveFeatures,
    Projection,
    fisher_diagonal,
    fit_projection,
    gradient_statistics,
    sample_features,
    sample_losses,
)
from dids.gradients.model_state import frozen_weights
from dids.gradients.projection import Kind

MAX_COORDINATES = 125_000
"""The default of ``impact.max_coordinates``."""
NUM_GROUPS = 24
_TRAINING_RATE = 1e-6  # the model must not wander off while it is measured


def plain_pass(subject: Subject) -> Step:
    """Forward, backward, weight gradients: what everything is compared with."""
    model = subject.model_copy()

    def step(batch: Batch) -> None:
        torch.autograd.backward(sample_losses(model, batch).sum())
        model.zero_grad()

    return step


def activation_gradients(subject: Subject) -> Step:
    """The floor under every hook into a backward pass: no weight gradients, nothing else."""
    model = subject.model_copy()
    model.enable_input_require_grads()  # type: ignore[operator]

    def step(batch: Batch) -> None:
        with frozen_weights(model):
            torch.autograd.backward(sample_losses(model, batch).sum())

    return step


def bf16(prepared: Callable[[Subject], Step]) -> Callable[[Subject], Step]:
    """The same under bfloat16 autocast."""

    def prepare(subject: Subject) -> Step:
        with torch.autocast(subject.device.type, torch.bfloat16):
            step = prepared(subject)  # a projection is fitted as it is used

        def cast_step(batch: Batch) -> Tensor | Mapping[str, Tensor] | None:
            with torch.autocast(subject.device.type, torch.bfloat16):
                return step(batch)

        return cast_step

    return prepare


def features(
    dim: int, kind: Kind, *, is_fitted: bool = True, linear_alone: bool = False
) -> Callable[[Subject], Step]:
    """`sample_features`; a one-sided projection fitted beforehand, if at all."""

    def prepare(subject: Subject) -> Step:
        model, projection = subject.model_copy(), Projection(dim, kind=kind)
        if linear_alone:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(is_block_matrix(name, parameter))
        if kind == "one-sided" and is_fitted:
            projection = fitted(subject, model, dim)
        return lambda batch: sample_features(model, batch, projection)

    return prepare


def fitted(subject: Subject, model: nn.Module, dim: int) -> Projection:
    """A projection as a run has it: fitted, with directions of other sequences."""
    return fit_projection(model, subject.fitted_to, dim, leading=subject.leading)


def is_block_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a linear layer's of a block: no embedding, head or norm."""
    return ".layers." in name and parameter.dim() == 2


def fisher(*, with_means: bool) -> Callable[[Subject], Step]:
    """`fisher_diagonal`, or `gradient_statistics` with squares, on all coordinates.

    Of several times the same batch: a mean over more samples has the same value.
    """

    def prepare(subject: Subject) -> Step:
        model = subject.model_copy()
        coordinates = Coordinates.of(model)

        def step(batch: Batch) -> dict[str, Tensor]:
            batches = [batch] * FISHER_BATCHES
            if with_means:
                found = gradient_statistics(model, batches, coordinates, with_squares=True)
                square_p = found.square_p
                assert square_p is not None
            else:
                square_p = fisher_diagonal(model, batches, coordinates)
            return {
                name: square_p[slot.start : slot.stop].view(slot.shape)
                for name, slot in coordinates.slots.items()
            }

        return step

    return prepare


class TrainingStep:
    """Forward, backward and AdamW's step on a mean over samples."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=_TRAINING_RATE)

    def __call__(self, batch: Batch) -> None:
        """One step."""
        torch.autograd.backward(sample_losses(self.model, batch).mean())
        self.optimizer.step()
        self.optimizer.zero_grad()


def training(subject: Subject) -> Step:
    """A training step as it is."""
    return TrainingStep(subject.model_copy())


def grouped_gradients(subject: Subject) -> Step:
    """A training step that adds up the gradients of groups of samples beside its own."""
    train = TrainingStep(subject.model_copy())
    coordinates = Coordinates.of(train.model, max_coordinates=MAX_COORDINATES)
    groups = GroupedGradients(train.model, coordinates, NUM_GROUPS)
    generator = torch.Generator().manual_seed(0)

    def step(batch: Batch) -> None:
        group_b = torch.randint(NUM_GROUPS, (len(batch["input_ids"]),), generator=generator)
        scored_b = torch.full_like(group_b, batch["input_ids"].shape[1] - 1)
        with groups.collecting(group_b, scored_b, 1.0 / float(scored_b.sum())):
            train(batch)

    return step


def live_features(subject: Subject) -> Step:
    """A training step that gives the features of its batch as well."""
    train = TrainingStep(subject.model_copy())
    live = LiveFeatures(train.model, fitted(subject, train.model, 1024))

    def step(batch: Batch) -> None:
        num_samples, num_tokens = batch["input_ids"].shape
        scored_b = torch.full((num_samples,), num_tokens - 1)
        with live.collecting(scored_b, 1.0 / float(scored_b.sum())):
            train(batch)

    return step


def _features_row(name: str, dim: int, kind: Kind, *, is_fitted: bool = True) -> Row:
    step = features(dim, kind, is_fitted=is_fitted)
    return Row(name, "features", step, dim, is_ours=True)


OWN_ROWS = (
    Row(PLAIN, "pass", plain_pass),
    Row(PLAIN_BF16, "pass", bf16(plain_pass)),
    Row("floor: activation gradients alone", "pass", activation_gradients),
    _features_row("DIDS one-sided, 1,024", 1024, "one-sided"),
    _features_row("DIDS one-sided, 4,096", 4096, "one-sided"),
    _features_row("DIDS one-sided, 1,024, random columns", 1024, "one-sided", is_fitted=False),
    _features_row("DIDS one-sided, 4,096, random columns", 4096, "one-sided", is_fitted=False),
    _features_row("DIDS exact, 1,024", 1024, "exact"),
    _features_row("DIDS exact, 4,096", 4096, "exact"),
    Row(
        "DIDS one-sided, 1,024, linear layers alone",
        "features",
        features(1024, "one-sided", linear_alone=True),
        1024,
        covers="linear",
        is_ours=True,
    ),
    Row(
        "DIDS one-sided, 1,024, bf16 autocast",
        "features",
        bf16(features(1024, "one-sided")),
        1024,
        baseline=PLAIN_BF16,
        is_ours=True,
    ),
    Row(
        "DIDS Fisher diagonal, exact",
        "fisher",
        fisher(with_means=False),
        is_ours=True,
        batches_a_call=FISHER_BATCHES,
    ),
    Row(
        "DIDS Fisher diagonal, exact, and two halves' mean gradients",
        "fisher",
        fisher(with_means=True),
        is_ours=True,
        batches_a_call=FISHER_BATCHES,
    ),
    Row(TRAINING, "training", training),
    Row(
        "DIDS features of the batch beside a training step",
        "training",
        live_features,
        baseline=TRAINING,
        is_ours=True,
    ),
    Row(
        "DIDS domains' gradients beside a training step",
        "training",
        grouped_gradients,
        baseline=TRAINING,
        is_ours=True,
    ),
)
