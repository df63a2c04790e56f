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


def task_influence(
    row_mp: Float[Tensor, "m p"],
    along_kp: Float[Tensor, "k p"],
    along_square_kp: Float[Tensor, "k p"] | None = None,
) -> Float64[Tensor, "m k"]:
    """What each sample of the task adds to the kernels, up to their means and a factor of 1 / m.

    Args:
        row_mp: Gradients of the task's samples.
        along_kp: The kernels' derivatives by the task's mean gradient.
        along_square_kp: Their derivatives by its mean squared gradient; None: they have none.
    """
    influence_mk = row_mp @ along_kp.T
    if along_square_kp is not None:
        influence_mk = influence_mk + row_mp.square() @ along_square_kp.T
    return influence_mk.double().cpu()


def preference_error(
    kernel_k: Float64[Tensor, " k"],
    domain_variance_k: Float64[Tensor, " k"],
    influence_mk: Float64[Tensor, "m k"],
) -> Float64[Tensor, " k"]:
    """Standard error of a task's kernels, all of them scaled to their root mean square.

    A factor that all kernels of a task have in common is no error of what the task prefers: a
    sample with a long gradient makes them all longer. So it is the error of
    ``v = kernel / rms(kernel)``, times ``rms(kernel)``, to first order:
    ``dv_k ~ dkernel_k - v_k mean_l(v_l dkernel_l)``.

    Args:
        kernel_k: One task's kernels.
        domain_variance_k: Their variances over the domains' samples, which are independent.
        influence_mk: What each of the task's samples adds.

    Returns:
        Infinite where the samples of the domain, or of the task, are too few to say.
    """
    num_samples, num_domains = influence_mk.shape
    if num_samples < 2:
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
