"""Standard error of an impact kernel, from some samples of the domains and those of the task.

A kernel is linear in the domain's mean gradient and smooth in the task's, so its error is the root
of two variances of means: how far a domain's samples differ in what they do for the task, and how
far the task's samples differ in what they ask of the domain (the infinitesimal jackknife; Jaeckel
1972; Efron & Stein 1981, The Annals of Statistics 9(3)).

Axis letters: k domains, t tasks, r rows of all domains, m rows of a task.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from dids.gradients.sample_rows import GroupSample


def domain_variance(
    samples: Sequence[GroupSample | None],
    along_rt: Float64[Tensor, "r t"],
    kernel_kt: Float64[Tensor, "k t"],
) -> Float64[Tensor, "k t"]:
    """Variance of the kernels over the samples of the domains.

    A domain's mean is weighted, and its weights are drawn with its samples: what varies is
    ``weight * (<g, pull> - kernel)``.

    Args:
        samples: Of each domain; None where there are none.
        along_rt: Kernels of these samples by themselves, times their weights, all domains' end to
            end.
        kernel_kt: The kernels.

    Returns:
        Infinite where fewer than two samples are known.
    """
    variance_kt = torch.full_like(kernel_kt, torch.inf)
    start = 0
    for domain, sample in enumerate(samples):
        if sample is None:
            continue
        count = len(sample.row_rp)
        own_rt = along_rt[start : start + count]
        start += count
        if count < 2:
            continue
        away_rt = own_rt - sample.weight_r.double().cpu()[:, None] * kernel_kt[domain]
        spread_t = away_rt.square().sum(dim=0) / (count - 1)
        variance_kt[domain] = spread_t * sample.num_samples / sample.total_weight**2
    return variance_kt


def preference_error(
    kernel_k: Float64[Tensor, " k"],
    domain_variance_k: Float64[Tensor, " k"],
    influence_mk: Float64[Tensor, "m k"],
    num_samples: int,
) -> Float64[Tensor, " k"]:
    """Standard error of a task's kernels, all of them scaled to their root mean square.

    A factor that all kernels of a task have in common is no error of what the task prefers: a
    sample with a long gradient makes them all longer. So it is the error of
    ``v = kernel / rms(kernel)``, times ``rms(kernel)``, to first order:
    ``dv_k ~ dkernel_k - v_k mean_l(v_l dkernel_l)``.

    Args:
        kernel_k: One task's kernels.
        domain_variance_k: Their variances over the domains' samples, which are independent.
        influence_mk: What each of some of the task's samples adds.
        num_samples: How many the task's mean is made of.

    Returns:
        Infinite where the samples of the domain, or of the task, are too few to say.
    """
    num_rows, num_domains = influence_mk.shape
    if num_rows < 2:
        return torch.full_like(kernel_k, torch.inf)
    size = kernel_k.square().mean().sqrt()
    vote_k = kernel_k / size if size > 0 else torch.zeros_like(kernel_k)
    common_m = influence_mk @ vote_k / num_domains
    task_k = (influence_mk - common_m[:, None] * vote_k).var(dim=0) / num_samples
    known_k = torch.where(torch.isfinite(domain_variance_k), domain_variance_k, 0.0)
    share_k = vote_k.square() / num_domains
    others = (share_k * known_k).sum()
    # Its own error is shortened by the size that it makes; the others' sizes add theirs.
    own_k = (known_k * (1.0 - 2.0 * share_k) + share_k * others).clamp(min=0.0)
    error_k = (task_k + own_k).sqrt()
    return torch.where(torch.isfinite(domain_variance_k), error_k, torch.inf)
