"""From measured gradients to impact matrices: the optimizer's steps, a metric, and the error.

Axis letters: k domains, t tasks, p parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dids.gradients.sample_rows import GroupSample
from dids.gradients.statistics import GradientStatistics
from dids.impact.matrices import ImpactMatrices
from dids.impact.preconditioner import Preconditioner
from dids.impact.standard_error import domain_variance, preference_error, task_influence

Within = Literal["fisher", "step", "plain"]
"""What steps are compared in: each task's Fisher information; the optimizer's own metric, where a
kernel is the loss that one step saves, to first order; or none, where gradients are compared as
they are."""


@dataclass(frozen=True, eq=False)
class MeasuredGradient:
    """The gradient of a domain or a task.

    Attributes:
        mean: Over its samples; a task's with squares where they are needed.
        sample: Some of these samples. None: the error is not known.
    """

    mean: GradientStatistics
    sample: GroupSample | None


def measured_matrices(
    domains: Sequence[MeasuredGradient],
    tasks: Sequence[MeasuredGradient],
    *,
    within: Within,
    preconditioner: Preconditioner,
    weight_p: Float[Tensor, " p"],
    domain_names: tuple[str, ...],
    task_names: tuple[str, ...],
) -> ImpactMatrices:
    """The impact matrices with the standard error of every kernel.

    Args:
        domains: In the order of their names.
        tasks: In the order of their names.
        within: The metric. ``fisher`` compares the steps ``P g`` and ``P h`` in the tasks' own,
            ``step`` their roots ``P^(1/2) g`` and ``P^(1/2) h``, and ``plain`` the gradients ``g``
            and ``h`` as they are.
        preconditioner: P.
        weight_p: How many parameters each entry stands for.
        domain_names: Of the axis k.
        task_names: Of the axis t.
    """
    if within == "plain":
        preconditioner = Preconditioner()
    step = preconditioner.times if within == "fisher" else preconditioner.root_times
    update_kp = step(torch.stack([each.mean.mean_p for each in domains]))
    target_tp = step(torch.stack([each.mean.mean_p for each in tasks]))
    metric_tp = torch.ones_like(target_tp)
    if within == "fisher":
        squares = [each.mean.square_p for each in tasks]
        metric_tp = torch.stack([square_p for square_p in squares if square_p is not None])
    matrices = ImpactMatrices.of(
        update_kp=update_kp,
        update_halves_2kp=step(torch.stack([each.mean.halves_2p for each in domains], dim=1)),
        target_tp=target_tp,
        target_halves_2tp=step(torch.stack([each.mean.halves_2p for each in tasks], dim=1)),
        fisher_tp=metric_tp,
        weight_p=weight_p,
        domain_names=domain_names,
        task_names=task_names,
    )
    errors = []
    for task, (target_p, metric_p) in enumerate(zip(target_tp, metric_tp, strict=True)):
        kernel_k = torch.from_numpy(matrices.kernel_kt[:, task])
        asked_p = weight_p * metric_p
        variance_k = domain_variance(
            [each.sample for each in domains], step(asked_p * target_p), kernel_k
        )
        sample = tasks[task].sample
        if sample is None:
            errors.append(torch.full_like(variance_k, torch.inf))
            continue
        by_square_kp = update_kp * (weight_p * target_p) if within == "fisher" else None
        influence_mk = task_influence(sample.row_rp, step(update_kp * asked_p), by_square_kp)
        errors.append(preference_error(kernel_k, variance_k, influence_mk))
    return replace(matrices, error_kt=torch.stack(errors, dim=1).numpy())
