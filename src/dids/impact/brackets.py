"""Lie brackets of the domains' gradients: whether the order of two domains matters to the tasks.

Axes: k domains, t tasks, i and j two domains, b samples, n scored tokens.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from dids.gradients.losses import NOT_SCORED
from dids.gradients.model_state import evaluation_mode

Batch: TypeAlias = Mapping[str, Tensor]


def brackets(
    model: nn.Module,
    domain_batches: Sequence[Batch],
    task_batches: Sequence[Batch],
    task_weights: Float[np.ndarray, " t"] | None = None,
) -> Float64[np.ndarray, "k k"]:
    """How much sooner than domain j domain i should come, for the tasks' mean loss.

    A plain gradient step on i and then on j ends at ``θ − η g_i − η g_j + η² H_j g_i``; in the
    other order at the same place but for the last term, which is ``η² H_i g_j``. So the order is
    worth ``η² h · (H_i g_j − H_j g_i)`` of the tasks' loss, where h is its gradient, and
    ``brackets[i, j]`` is half of that with η = 1: h times half the Lie bracket of the two gradient
    fields (Rukhovich, Podolskiy & Piontkovskaya 2025, arXiv:2501.15556).

    As Hessians are symmetric, ``h · H_i g_j = g_j · (H_i h)``: one Hessian-vector product for each
    domain serves all pairs. The gradients of all domains are held at once.

    Args:
        model: At the parameters where the order is asked for; it comes back as it was. Only
            parameters that ask for a gradient move.
        domain_batches: Samples of each domain, a batch each, as the collator pads them.
        task_batches: Validation samples of each task, a batch each.
        task_weights: What each task counts for. None: all alike.

    Returns:
        Antisymmetric, in nats for a learning rate of 1. A domain with nothing scored has zeros.

    Note:
        Steps are those of plain gradient descent, as in the paper. An optimizer such as Adam takes
        others, and there this says which way the order matters sooner than how much.
    """
    weight_t = np.ones(len(task_batches)) if task_weights is None else task_weights
    parameters = [p for p in model.parameters() if p.requires_grad]
    with evaluation_mode(model), torch.enable_grad():
        gradient_k = [_gradient(_mean_loss(model, batch), parameters) for batch in domain_batches]
        target = [torch.zeros_like(parameter) for parameter in parameters]
        for weight, batch in zip(weight_t / weight_t.sum(), task_batches, strict=True):
            for total, part in zip(
                target, _gradient(_mean_loss(model, batch), parameters), strict=True
            ):
                total.add_(part, alpha=float(weight))
        # product_kk[i, j] = h · H_i g_j
        product_kk = np.array(
            [
                _inner_products(_hessian_times(model, batch, parameters, target), gradient_k)
                for batch in domain_batches
            ]
        )
    return np.asarray((product_kk - product_kk.T) / 2)


def _mean_loss(model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
    """Mean over the samples with something scored, by functions that can be derived twice."""
    # Fused attention has no second derivative, and rows that see nothing (padding on the left)
    # have none in eager attention.
    with sdpa_kernel(SDPBackend.MATH):
        logits_btv: Tensor = model(
            input_ids=batch["input_ids"],
            attention_mask=batch.get("attention_mask"),
            use_cache=False,
        ).logits
    target_bt = functional.pad(batch["labels"][:, 1:], (0, 1), value=NOT_SCORED)
    wide = logits_btv if logits_btv.dtype == torch.float64 else logits_btv.float()
    nll_bt = functional.cross_entropy(
        wide.flatten(0, 1), target_bt.flatten(), ignore_index=NOT_SCORED, reduction="none"
    ).view(target_bt.shape)
    count_b = (target_bt != NOT_SCORED).sum(1)
    return (nll_bt.sum(1) / count_b.clamp(min=1)).sum() / (count_b > 0).sum().clamp(min=1)


def _gradient(
    loss: Float[Tensor, ""], parameters: Sequence[Tensor], *, again: bool = False
) -> list[Tensor]:
    """The loss's gradient, zero for parameters that it does not see."""
    found = torch.autograd.grad(
        loss, list(parameters), create_graph=again, materialize_grads=True, allow_unused=True
    )
    return list(found)


def _hessian_times(
    model: nn.Module, batch: Batch, parameters: Sequence[Tensor], vector: Sequence[Tensor]
) -> list[Tensor]:
    """A batch's Hessian times a vector: the gradient of ``g · vector`` (Pearlmutter 1994)."""
    gradient = _gradient(_mean_loss(model, batch), parameters, again=True)
    slope = torch.stack(
        [(part * along).sum() for part, along in zip(gradient, vector, strict=True)]
    ).sum()
    if not slope.requires_grad:  # nothing is scored, or the loss is linear
        return [torch.zeros_like(parameter) for parameter in parameters]
    return _gradient(slope, parameters)


def _inner_products(vector: Sequence[Tensor], rows_k: Sequence[Sequence[Tensor]]) -> list[float]:
    """Summed in float64: brackets are small differences of these."""
    return [
        sum(
            float((part.double() * along.double()).sum())
            for part, along in zip(row, vector, strict=True)
        )
        for row in rows_k
    ]
