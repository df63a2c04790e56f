"""One forward and backward pass over samples, for everyone who wants something of their gradients.

Receivers share the pass: features, means and Fisher information of the same samples cost one
backward pass and their own sums.

Axes: b samples of a batch, n samples, d feature dimensions, k tokens whose logits are kept, v
vocabulary.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dids.errors import InputError, check_choice
from dids.gradients.layer_gradient import LayerGradient
from dids.gradients.layers import layer_gradients
from dids.gradients.losses import (
    NOT_SCORED,
    losses_of_logits,
    scored_counts,
    scored_inputs,
)
from dids.gradients.model_state import evaluation_mode
from dids.gradients.projection import Projection
from dids.gradients.token_spans import TokenSpans

Labels = Literal["data", "model"]


@dataclass(frozen=True, eq=False)
class BatchRows:
    """Which samples the rows of a batch are. Even-numbered ones come first: a half is a slice."""

    number_b: Int64[Tensor, " b"]
    """Numbers of the samples in the pass, on the CPU."""
    num_even: int
    weight_b: Float[Tensor, " b"]
    """What the gradient of each sample's own loss is multiplied by."""


@runtime_checkable
class Receiver(Protocol):
    """Who wants something of every gradient. What it receives is shared: it changes nothing."""

    def begin(self, rows: BatchRows) -> None:
        """A backward pass of a batch is about to start."""

    def receive(self, layer: LayerGradient) -> None:
        """One use of one parameter."""

    def end(self) -> None:
        """The batch's backward pass is over."""


def gradient_pass(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    receivers: Sequence[Receiver],
    *,
    labels: Labels = "data",
    generator: torch.Generator | None = None,
    by_tokens: bool = False,
    layers: Sequence[str] | None = None,
) -> Float[Tensor, " n"]:
    """Run batches forward and backward, once, for all receivers.

    Args:
        model: The model as it stands; ``.grad``, flags, mode and random state are left untouched.
        batches: ``input_ids``, ``labels`` and, when padded, ``attention_mask``, on the model's
            device; ``position_ids`` where they do not go from the first token to the last.
        receivers: Each gets every layer's gradient.
        labels: ``data``, or ``model`` for labels drawn from the model's own predictions at the
            scored positions.
        generator: Source of those draws (on the CPU); seed 0 when None.
        by_tokens: Whether a sample weighs its scored tokens instead of one.
        layers: Patterns of the names of parameters or modules; None for every layer.

    Returns:
        Loss of each sample on the data's labels, in the order of the samples.

    Raises:
        InputError: If there is no sample, or no such labels.
    """
    check_choice("labels", labels, get_args(Labels))
    generator = generator or torch.Generator().manual_seed(0)
    losses: list[Tensor] = []
    num_samples = 0
    spans: TokenSpans | None = None  # of the batch at hand

    def receive(layer: LayerGradient) -> None:
        for receiver in receivers:
            receiver.receive(layer)

    def run(batch: Mapping[str, Tensor]) -> None:
        # By itself: the last batch's logits must not be held while the next one runs forward.
        nonlocal num_samples, spans
        number_b, num_even = _even_first(num_samples, len(batch["input_ids"]))
        order_b = (number_b - num_samples).to(batch["input_ids"].device)
        num_samples += len(number_b)
        ordered = {
            name: batch[name][order_b]
            for name in ("input_ids", "labels", "attention_mask", "position_ids")
            if batch.get(name) is not None
        }
        inputs = scored_inputs(model, ordered)
        labels_bk = inputs.labels_bk
        spans = TokenSpans.of(inputs.labels_bt, inputs.arguments["attention_mask"])
        logits_bkv = model(**inputs.arguments).logits
        loss_b = losses_of_logits(logits_bkv, labels_bk, is_last_look=labels == "data")
        losses.append(loss_b.detach()[order_b.argsort()])
        if labels == "model":
            drawn_bk = _drawn_labels(logits_bkv.detach(), labels_bk, generator)
            loss_b = losses_of_logits(logits_bkv, drawn_bk, is_last_look=True)
        del logits_bkv  # the loss lets go of them first, on its way backward
        weight_b = torch.ones_like(loss_b)
        if by_tokens:
            weight_b = scored_counts(inputs.labels_bt).to(loss_b)
        rows = BatchRows(number_b, num_even, weight_b.detach())
        for receiver in receivers:
            receiver.begin(rows)
        torch.autograd.backward((loss_b * weight_b).sum())
        for receiver in receivers:
            receiver.end()

    with (
        evaluation_mode(model),
        layer_gradients(model, receive, layers=layers, spans=lambda: spans),
        torch.enable_grad(),
    ):
        for batch in batches:
            run(batch)
    if num_samples == 0:
        raise InputError("gradient statistics need at least one sample, but there is none.")
    return torch.cat(losses)


class FeatureReceiver:
    """Hands on the features of each batch of a pass, in the order of its samples.

    Args:
        projection: Π.
        on_features: Called once a batch with features [b, d], which are its own to keep.
    """

    def __init__(self, projection: Projection, on_features: Callable[[Tensor], None]) -> None:
        self.projection = projection
        self.on_features = on_features
        self._sketch_bw = torch.empty(0)
        self._rows: BatchRows | None = None

    def begin(self, rows: BatchRows) -> None:
        """See :class:`Receiver`."""
        self._rows = rows
        self._sketch_bw = rows.weight_b.new_zeros(len(rows.number_b), self.projection.sketch_dim)

    def receive(self, layer: LayerGradient) -> None:
        """See :class:`Receiver`."""
        self.projection.add_(self._sketch_bw, layer)

    def end(self) -> None:
        """See :class:`Receiver`."""
        assert self._rows is not None
        # A sample that weighs nothing has nothing scored: its feature is zero as it is.
        weight_b = self._rows.weight_b
        feature_bd = self.projection.features(self._sketch_bw)
        own_bd = feature_bd / torch.where(weight_b == 0, 1.0, weight_b).unsqueeze(1)
        self.on_features(own_bd[self._rows.number_b.argsort().to(own_bd.device)])


def _even_first(first: int, count: int) -> tuple[Int64[Tensor, " b"], int]:
    """Numbers of a batch's samples, even ones first, and how many are even."""
    number_b = torch.arange(first, first + count)
    even, odd = number_b[number_b % 2 == 0], number_b[number_b % 2 == 1]
    return torch.cat([even, odd]), len(even)


def _drawn_labels(logits_btv: Tensor, labels_bt: Tensor, generator: torch.Generator) -> Tensor:
    """Labels drawn from the model's predictions where the data's labels are scored."""
    is_scored_bt = labels_bt[:, 1:] != NOT_SCORED
    cumulated_nv = logits_btv[:, :-1][is_scored_bt].double().softmax(-1).cumsum(-1)
    draw_n1 = torch.rand(len(cumulated_nv), 1, dtype=torch.float64, generator=generator)
    draw_n1 = draw_n1.to(cumulated_nv.device) * cumulated_nv[:, -1:]
    drawn_n = torch.searchsorted(cumulated_nv, draw_n1).squeeze(1)
    drawn_bt = labels_bt.clone()
    drawn_bt[:, 1:][is_scored_bt] = drawn_n.clamp(max=logits_btv.shape[-1] - 1)
    return drawn_bt
