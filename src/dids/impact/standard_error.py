"""Standard error of an impact kernel, from some samples of the domains and those of the task.

A kernel is linear in the domain's mean gradient and smooth in the task's, so its error is the root
of two variances of means: how far a domain's samples differ in what they do for the task, and how
far the task's samples differ in what they ask of the domain (the infinitesimal jackknife; Jaeckel
1972; Efron & Stein 1981, The Annals of Statistics 9(3)).

Axis letters: k domains, r rows of a domain, m rows of a task, p parameters.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from dids.gradients.sample_rows import GroupSample


def domain_variance(
    samples: Sequence[GroupSample | None],
    pull_p: Float[Tensor, " p"],
    kernel_k: Float64[Tensor, " k"],
) -> Float64[Tensor, " k"]:
    """Variance of ``<g_k, pull>`` over the samples of the domains.

    A domain's mean is weighted, and its weights are drawn with its samples: what varies is
    ``weight * (<g, pull> - kernel)``.

    Args:
        samples: Of each domain; None where there are none.
        pull_p: What is multiplied with a domain's gradient.
        kernel_k: The kernels.

    Returns:
        Infinite where fewer than two samples are known.
    """
    variance_k = torch.full_like(kernel_k, torch.inf)
    for domain, sample in enumerate(samples):
        if sample is None or len(sample.row_rp) < 2:
            continue
        along_r = (sample.row_rp @ pull_p).double().cpu()
        away_r = along_r - sample.weight_r.double().cpu() * kernel_k[domain]
        spread = away_r.square().sum() / (len(away_r) - 1)
        variance_k[domain] = spread * sample.num_samples / sample.total_weight**2
    return variance_k


def task_variance(
    row_mp: Float[Tensor, "m p"],
    along_kp: Float[Tensor, "k p"],
    along_square_kp: Float[Tensor, "k p"] | None = None,
) -> Float64[Tensor, " k"]:
    """Variance of the kernels over the samples of the task.

    Args:
        row_mp: Gradients of the task's samples.
        along_kp: The kernels' derivatives by the task's mean gradient.
        along_square_kp: Their derivatives by its mean squared gradient; None: they have none.

    Returns:
        Infinite where there are fewer than two samples.
    """
    if len(row_mp) < 2:
        return torch.full((len(along_kp),), torch.inf, dtype=torch.float64)
    influence_mk = row_mp @ along_kp.T
    if along_square_kp is not None:
        influence_mk = influence_mk + row_mp.square() @ along_square_kp.T
    return influence_mk.double().cpu().var(dim=0) / len(row_mp)
