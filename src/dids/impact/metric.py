"""Impact in the Fisher metric of a task: distances, inner products and cosines of changes.

A change ``u`` moves the model's outputs on task t by ``1/2 u' F_t u`` nats, F_t being the task's
Fisher information; here its diagonal, the mean of squared per-sample gradients. A domain is good
for a task if its change lies, in this metric, where the task's own change would go (Shi et al.
2025, arXiv:2504.13227).

Parameters are walked through in chunks, so that nothing of size t x k x p ever exists. Sums over
parameters are kept in float64.

Axis letters: k domains, t tasks, p parameters.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Float64
from torch import Tensor

# Entries of one chunk of updates: 16 MiB in float32 stays near the cache and costs no speed.
_CHUNK_ENTRIES = 2**22


def kl_distance(
    update_kp: Float[Tensor, "k p"],
    target_tp: Float[Tensor, "t p"],
    fisher_tp: Float[Tensor, "t p"],
    weight_p: Float[Tensor, " p"] | None = None,
) -> Float64[Tensor, "k t"]:
    """KL divergence between the model after a domain's step and after the task's own, second order.

    ``distance[k, t] = 1/2 * sum_p fisher[t, p] * (update[k, p] - target[t, p]) ** 2``: the paper's
    impact. Low is good.

    Args:
        update_kp: Parameter change that one step on each domain causes.
        target_tp: Parameter change that one step on each task would cause.
        fisher_tp: Diagonal Fisher information of each task. Non-negative.
        weight_p: How many parameters each entry stands for, where only some were kept. None: one.

    Returns:
        Distance in nats, never negative.

    Raises:
        ValueError: If ``fisher_tp`` has a negative entry or an entry that is no number, or is of
            other tasks than ``target_tp``.

    Example:
        >>> from torch import tensor
        >>> kl_distance(tensor([[1.0, 0.0]]), tensor([[0.0, 0.0]]), tensor([[4.0, 1.0]])).item()
        2.0
    """
    _check_tasks(target_tp, fisher_tp)
    distance_kt = _zeros(len(update_kp), len(target_tp))
    for chunk, root_tc in _roots(fisher_tp, weight_p, len(update_kp)):
        for task, root_c in enumerate(root_tc):
            difference_kc = (update_kp[:, chunk] - target_tp[task, chunk]) * root_c
            distance_kt[:, task] += 0.5 * difference_kc.square().sum(1, dtype=torch.float64).cpu()
    return distance_kt


def fisher_kernel(
    update_kp: Float[Tensor, "k p"],
    target_tp: Float[Tensor, "t p"],
    fisher_tp: Float[Tensor, "t p"],
    weight_p: Float[Tensor, " p"] | None = None,
) -> Float64[Tensor, "k t"]:
    """Inner product of a domain's change and the task's own in the task's Fisher metric.

    ``kernel[k, t] = sum_p fisher[t, p] * update[k, p] * target[t, p]``. High is good; negative
    means that the domain undoes what the task asks for.

    Args:
        update_kp: Parameter change that one step on each domain causes.
        target_tp: Parameter change that one step on each task would cause.
        fisher_tp: Diagonal Fisher information of each task. Non-negative.
        weight_p: How many parameters each entry stands for. None: one.

    Returns:
        Kernel in nats.

    Raises:
        ValueError: If ``fisher_tp`` has a negative entry or an entry that is no number, or is of
            other tasks than ``target_tp``.

    Example:
        >>> from torch import tensor
        >>> fisher_kernel(tensor([[1.0, 2.0]]), tensor([[3.0, 1.0]]), tensor([[4.0, 1.0]])).item()
        14.0
    """
    _check_tasks(target_tp, fisher_tp)
    kernel_kt = _zeros(len(update_kp), len(target_tp))
    for chunk, root_tc in _roots(fisher_tp, weight_p, len(update_kp)):
        pull_tc = root_tc * (root_tc * target_tp[:, chunk])
        kernel_kt += (update_kp[:, chunk] @ pull_tc.T).double().cpu()
    return kernel_kt


def fisher_gram(
    update_kp: Float[Tensor, "k p"],
    fisher_tp: Float[Tensor, "t p"],
    weight_p: Float[Tensor, " p"] | None = None,
) -> Float64[Tensor, "t k k"]:
    """Inner products of all domains' changes with each other, in every task's Fisher metric.

    Args:
        update_kp: Parameter change that one step on each domain causes.
        fisher_tp: Diagonal Fisher information of each task. Non-negative.
        weight_p: How many parameters each entry stands for. None: one.

    Returns:
        Symmetric positive semi-definite matrices: ``gram[t, k, l] = sum_p fisher[t, p] *
        update[k, p] * update[l, p]``.

    Raises:
        ValueError: If ``fisher_tp`` has a negative entry or an entry that is no number.

    Example:
        >>> from torch import tensor
        >>> fisher_gram(tensor([[1.0, 0.0], [1.0, 1.0]]), tensor([[4.0, 1.0]])).tolist()
        [[[4.0, 4.0], [4.0, 5.0]]]
    """
    gram_tkk = _zeros(len(fisher_tp), len(update_kp), len(update_kp))
    for chunk, root_tc in _roots(fisher_tp, weight_p, len(update_kp)):
        for task, root_c in enumerate(root_tc):
            scaled_kc = update_kp[:, chunk] * root_c
            gram_tkk[task] += (scaled_kc @ scaled_kc.T).double().cpu()
    return (gram_tkk + gram_tkk.mT) / 2


def paired_products(
    first_kp: Float[Tensor, "k p"],
    second_kp: Float[Tensor, "k p"],
    fisher_tp: Float[Tensor, "t p"],
    weight_p: Float[Tensor, " p"] | None = None,
) -> Float64[Tensor, "t k"]:
    """Inner product of each row with its partner, in every task's Fisher metric.

    With the changes from two independent halves of a domain's samples this is its squared length
    without the noise that a square of one estimate has in it.

    Args:
        first_kp: One change for each domain.
        second_kp: Its partner.
        fisher_tp: Diagonal Fisher information of each task. Non-negative.
        weight_p: How many parameters each entry stands for. None: one.

    Returns:
        ``sum_p fisher[t, p] * first[k, p] * second[k, p]``.
    """
    product_tk = _zeros(len(fisher_tp), len(first_kp))
    for chunk, root_tc in _roots(fisher_tp, weight_p, len(first_kp)):
        for task, root_c in enumerate(root_tc):
            pair_kc = (first_kp[:, chunk] * root_c) * (second_kp[:, chunk] * root_c)
            product_tk[task] += pair_kc.sum(1, dtype=torch.float64).cpu()
    return product_tk


def target_norm(
    target_tp: Float[Tensor, "t p"],
    fisher_tp: Float[Tensor, "t p"],
    weight_p: Float[Tensor, " p"] | None = None,
) -> Float64[Tensor, " t"]:
    """Squared length of every task's own change in its own Fisher metric.

    Args:
        target_tp: Parameter change that one step on each task would cause.
        fisher_tp: Diagonal Fisher information of each task. Non-negative.
        weight_p: How many parameters each entry stands for. None: one.

    Returns:
        ``sum_p fisher[t, p] * target[t, p] ** 2``.

    Raises:
        ValueError: If ``fisher_tp`` has a negative entry or an entry that is no number, or is of
            other tasks than ``target_tp``.
    """
    _check_tasks(target_tp, fisher_tp)
    norm_t = _zeros(len(target_tp))
    for chunk, root_tc in _roots(fisher_tp, weight_p, len(target_tp)):
        norm_t += (target_tp[:, chunk] * root_tc).square().sum(1, dtype=torch.float64).cpu()
    return norm_t


def fisher_cosine(
    update_kp: Float[Tensor, "k p"],
    target_tp: Float[Tensor, "t p"],
    fisher_tp: Float[Tensor, "t p"],
    weight_p: Float[Tensor, " p"] | None = None,
) -> Float64[Tensor, "k t"]:
    """Cosine between a domain's change and the task's own in the task's Fisher metric.

    Args:
        update_kp: Parameter change that one step on each domain causes.
        target_tp: Parameter change that one step on each task would cause.
        fisher_tp: Diagonal Fisher information of each task. Non-negative.
        weight_p: How many parameters each entry stands for. None: one.

    Returns:
        Between -1 and 1, high is good; 0 where either change has no length.

    Raises:
        ValueError: If ``fisher_tp`` has a negative entry or an entry that is no number, or is of
            other tasks than ``target_tp``.

    Example:
        >>> from torch import tensor
        >>> fisher_cosine(tensor([[2.0, 0.0]]), tensor([[3.0, 4.0]]), tensor([[1.0, 1.0]])).item()
        0.6
    """
    kernel_kt = fisher_kernel(update_kp, target_tp, fisher_tp, weight_p)
    length_tk = paired_products(update_kp, update_kp, fisher_tp, weight_p).sqrt()
    lengths_kt = length_tk.T * target_norm(target_tp, fisher_tp, weight_p).sqrt()
    cosine_kt = torch.where(lengths_kt == 0, 0.0, kernel_kt / lengths_kt)
    return cosine_kt.clamp(-1.0, 1.0)


def _check_tasks(target_tp: Tensor, fisher_tp: Tensor) -> None:
    if target_tp.shape != fisher_tp.shape:
        raise ValueError(
            f"target_tp and fisher_tp are of the same tasks and parameters, but are "
            f"{tuple(target_tp.shape)} and {tuple(fisher_tp.shape)}."
        )


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


def _roots(
    fisher_tp: Tensor, weight_p: Tensor | None, num_rows: int
) -> Iterator[tuple[slice, Tensor]]:
    """Chunks of parameters, each with the square root of the metric there.

    The root keeps products symmetric and float32 in range.
    """
    num_parameters = fisher_tp.shape[1]
    size = max(1, _CHUNK_ENTRIES // max(1, num_rows))
    for start in range(0, num_parameters, size):
        chunk = slice(start, start + size)
        metric_tc = fisher_tp[:, chunk]
        if not bool((metric_tc >= 0).all()):
            raise ValueError("fisher_tp must be zero or more everywhere, but it is not.")
        yield chunk, (metric_tc if weight_p is None else metric_tc * weight_p[chunk]).sqrt()
