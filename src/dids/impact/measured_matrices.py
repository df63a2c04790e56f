"""From measured gradients to impact matrices: the optimizer's steps, a metric, and the error."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dids.impact.blockwise_products import MeasuredGradient, Within, step_products
from dids.impact.matrices import ImpactMatrices
from dids.impact.preconditioner import Preconditioner
from dids.impact.standard_error import domain_variance, preference_error
from dids.ranks import sum_over_ranks_


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
    """The impact matrices with the standard error of every kernel; every rank must ask.

    Means are the same on all ranks. Of samples by themselves each rank has its own, and what goes
    over the network is their products with the means, a few kilobytes.

    Args:
        domains: In the order of their names.
        tasks: In the order of their names.
        within: The metric, as `step_products` takes it.
        preconditioner: The optimizer's.
        weight_p: How many parameters each entry stands for.
        domain_names: Of the axis k (domains).
        task_names: Of the axis t (tasks).
    """
    products = step_products(
        domains, tasks, within=within, preconditioner=preconditioner, weight_p=weight_p
    )
    sum_over_ranks_(products.along_rt, *products.influence)
    variance_kt = domain_variance(
        [each.sample for each in domains], products.along_rt, products.kernel_kt
    )
    errors = [
        torch.full_like(variance_k, torch.inf)
        if task.sample is None
        else preference_error(kernel_k, variance_k, influence_mk, task.sample.num_samples)
        for task, kernel_k, variance_k, influence_mk in zip(
            tasks, products.kernel_kt.T, variance_kt.T, products.influence, strict=True
        )
    ]
    return ImpactMatrices(
        gram_tkk=products.gram_tkk.numpy(),
        kernel_kt=products.kernel_kt.numpy(),
        target_norm_t=products.target_norm_t.numpy(),
        domain_names=domain_names,
        task_names=task_names,
        signal_tk=products.signal_tk.numpy(),
        target_signal_t=products.target_signal_t.numpy(),
        error_kt=torch.stack(errors, dim=1).numpy(),
        num_samples_t=np.array([float(task.mean.num_samples) for task in tasks]),
        within=within,
    )
