"""What estimators may look at: gradients of some samples at a checkpoint, and the optimizer.

Axis letters: n samples of a domain, m samples of a task, p parameters, k domains.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from dids.audit.checkpoint import Checkpoint, Samples
from dids.gradients.losses import sample_losses, scored_counts
from dids.gradients.model_state import evaluation_mode
from dids.impact.clipping import clipped_share


@dataclass(frozen=True, eq=False)
class Evidence:
    """Per-sample gradients of every parameter, and what Adam has gathered.

    Attributes:
        domains: Of each domain [n, p].
        scored: Scored tokens of these samples, by domain [n].
        tasks: Of each task's validation samples [m, p].
        precondition_p: ``1 / (sqrt(v_hat) + eps)``.
        momentum_p: Adam's first moment.
        kept_k: What clipping leaves of a batch's gradient.
    """

    domains: Sequence[Float[Tensor, "_ p"]]
    scored: Sequence[Float64[np.ndarray, " _"]]
    tasks: Sequence[Float[Tensor, "_ p"]]
    precondition_p: Float[Tensor, " p"]
    momentum_p: Float[Tensor, " p"]
    kept_k: Float64[np.ndarray, " k"]


def gathered_evidence(
    checkpoint: Checkpoint,
    training: Samples,
    domains: Sequence[np.ndarray],
    tasks: Sequence[Samples],
    *,
    num_samples: int,
    batch_size: int,
    random: np.random.Generator,
) -> Evidence:
    """Take ``num_samples`` of every domain and of every task's validation set, by chance."""
    chosen = [random.choice(each, min(num_samples, len(each)), replace=False) for each in domains]
    asked = [random.permutation(task.size)[:num_samples] for task in tasks]
    with evaluation_mode(checkpoint.model):
        rows = [_gradients(checkpoint, training, each) for each in chosen]
        task_rows = [
            _gradients(checkpoint, task, each)[0] for task, each in zip(tasks, asked, strict=True)
        ]
    domain_rows, scored = [row for row, _ in rows], [count for _, count in rows]
    momentum_p, precondition_p = _adam(checkpoint)
    kept_k = np.array(
        [
            clipped_share(row, count, batch_size=batch_size, max_norm=checkpoint.max_norm)
            for row, count in rows
        ]
    )
    return Evidence(domain_rows, scored, task_rows, precondition_p, momentum_p, kept_k)


def _gradients(
    checkpoint: Checkpoint, samples: Samples, chosen: np.ndarray
) -> tuple[Tensor, np.ndarray]:
    """Gradients of samples, one backward pass each, and their scored tokens."""
    parameters = list(checkpoint.model.parameters())
    rows, counts = [], []
    for sample in chosen:
        batch = samples.batch(np.array([sample]))
        loss = sample_losses(checkpoint.model, batch).sum()
        rows.append(_flat(torch.autograd.grad(loss, parameters)))
        counts.append(float(scored_counts(batch["labels"]).sum()))
    return torch.stack(rows), np.array(counts)


def _adam(checkpoint: Checkpoint) -> tuple[Tensor, Tensor]:
    group = checkpoint.optimizer.param_groups[0]
    states = [checkpoint.optimizer.state[p] for p in checkpoint.model.parameters()]
    step = float(states[0]["step"])
    first_p = _flat([state["exp_avg"] for state in states]) / (1.0 - group["betas"][0] ** step)
    second_p = _flat([state["exp_avg_sq"] for state in states]) / (1.0 - group["betas"][1] ** step)
    return first_p, 1.0 / (second_p.sqrt() + group["eps"])


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
