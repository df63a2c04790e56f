"""All inner products that impact and its error are made of, in one walk over the parameters.

Each product by itself would read the gradients of all domains, tasks and samples again, and at a
few hundred thousand parameters it is memory that one waits for. Here every block of parameters is
read once, while it is near the cache everything that needs it is added up. The functions of
`dids.impact.metric` say what each product is; these are the same numbers.

Axis letters: k domains, t tasks, r rows of all domains, m rows of a task, p parameters, c
parameters of a block.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from dids.gradients.sample_rows import GroupSample
from dids.gradients.statistics import GradientStatistics
from dids.impact.preconditioner import Preconditioner

Within = Literal["fisher", "step", "plain"]
"""What steps are compared in: each task's Fisher information; the optimizer's own metric, where a
kernel is the loss that one step saves, to first order; or none, where gradients are compared as
they are."""

# Entries of all domains' gradients, halves and rows in a block: 4 MiB in float32.
_CPU_ENTRIES, _GPU_ENTRIES = 2**20, 2**26


@dataclass(frozen=True, eq=False)
class MeasuredGradient:
    """The gradient of a domain or a task.

    Attributes:
        mean: Over its samples; a task's with squares where they are needed.
        sample: Some of these samples. None: the error is not known.
    """

    mean: GradientStatistics
    sample: GroupSample | None


@dataclass(frozen=True, eq=False)
class StepProducts:
    """Inner products of the steps of domains and tasks, in every task's metric.

    Attributes:
        gram_tkk: Of the domains' steps with each other.
        kernel_kt: Of the domains' steps with the task's own.
        target_norm_t: Of the task's own with itself.
        signal_tk: Of the steps from two halves of a domain's samples.
        target_signal_t: The same of a task's.
        along_rt: Of the step of every kept sample of a domain with the task's own, all domains'
            end to end.
        influence: For every task [m, k]: what each of its kept samples adds to the kernels, up to
            their means and a factor of 1 / m.
    """

    gram_tkk: Float64[Tensor, "t k k"]
    kernel_kt: Float64[Tensor, "k t"]
    target_norm_t: Float64[Tensor, " t"]
    signal_tk: Float64[Tensor, "t k"]
    target_signal_t: Float64[Tensor, " t"]
    along_rt: Float64[Tensor, "r t"]
    influence: Sequence[Float64[Tensor, "_ k"]]


def step_products(
    domains: Sequence[MeasuredGradient],
    tasks: Sequence[MeasuredGradient],
    *,
    within: Within,
    preconditioner: Preconditioner,
    weight_p: Float[Tensor, " p"],
) -> StepProducts:
    """Inner products of the steps that domains and tasks cause.

    With ``M_t`` the metric (the Fisher diagonal, or ones) and ``S`` what makes steps of gradients
    (``P``, or its root), a kernel is ``g' S M_t S h``; the derivative of it by a sample s of the
    task is ``s' S M_t S g``, and where the metric is made of the same samples, ``s^2 . (S g) . (S
    h)`` more.

    Args:
        domains: Gradients.
        tasks: Gradients; with squares within ``fisher``.
        within: The metric. ``fisher`` compares the steps ``P g`` and ``P h`` in the tasks' own,
            ``step`` their roots ``P^(1/2) g`` and ``P^(1/2) h``, and ``plain`` the gradients ``g``
            and ``h`` as they are.
        preconditioner: P.
        weight_p: How many parameters each entry stands for.

    Raises:
        ValueError: If a task has no squares and the metric is made of them, or one is negative.
    """
    if within == "plain":
        preconditioner = Preconditioner()
    walk = _Walk(domains, tasks, within, preconditioner, weight_p)
    return walk.products()


@dataclass(eq=False)
class _Sums:
    """What is added up, in float64."""

    gram_tkk: Tensor
    kernel_kt: Tensor
    norm_t: Tensor
    signal_tk: Tensor
    own_signal_t: Tensor
    along_rt: Tensor
    influence: list[Tensor]

    @classmethod
    def zero(
        cls,
        num_domains: int,
        num_tasks: int,
        num_rows: int,
        rows_of_task: Sequence[int],
        device: torch.device,
    ) -> "_Sums":
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        return cls(
            gram_tkk=zeros(num_tasks, num_domains, num_domains),
            kernel_kt=zeros(num_domains, num_tasks),
            norm_t=zeros(num_tasks),
            signal_tk=zeros(num_tasks, num_domains),
            own_signal_t=zeros(num_tasks),
            along_rt=zeros(num_rows, num_tasks),
            influence=[zeros(count, num_domains) for count in rows_of_task],
        )

    def products(self) -> StepProducts:
        return StepProducts(
            gram_tkk=((self.gram_tkk + self.gram_tkk.mT) / 2).cpu(),
            kernel_kt=self.kernel_kt.cpu(),
            target_norm_t=self.norm_t.cpu(),
            signal_tk=self.signal_tk.cpu(),
            target_signal_t=self.own_signal_t.cpu(),
            along_rt=self.along_rt.cpu(),
            influence=[each.cpu() for each in self.influence],
        )


class _Walk:
    """The gradients in blocks of parameters, and the sums so far."""

    def __init__(
        self,
        domains: Sequence[MeasuredGradient],
        tasks: Sequence[MeasuredGradient],
        within: Within,
        preconditioner: Preconditioner,
        weight_p: Tensor,
    ) -> None:
        turned: Callable[[Tensor], Tensor] = preconditioner.turned
        scale_p = preconditioner.scale_p
        if within == "fisher":
            turned = _twice(turned)
        elif scale_p is not None:
            scale_p = scale_p.sqrt()
        self.scale_p, self.weight_p = scale_p, weight_p

        def turned_rows(sample: GroupSample) -> Tensor:
            # Turned in all their digits; where nothing is turned they stay as they are.
            return turned(sample.row_rp.float()) if preconditioner.root_by_slot else sample.row_rp

        self.half_k = [turned(each.mean.halves_2p) for each in domains]
        self.half_t = [turned(each.mean.halves_2p) for each in tasks]
        self.share_k2, self.share_t2 = _shares(domains), _shares(tasks)
        # Where it is kept of a domain, a sample's gradient is multiplied with the task's step.
        self.row_k = [turned_rows(each.sample) for each in domains if each.sample is not None]
        none = self.half_t[0][:0]
        self.row_t = [none if each.sample is None else each.sample.row_rp for each in tasks]
        self.turned_row_t = [
            none if each.sample is None else turned_rows(each.sample) for each in tasks
        ]
        self.square_t = [_squares(each) for each in tasks] if within == "fisher" else None

    def products(self) -> StepProducts:
        """Every sum over all blocks."""
        num_rows = sum(len(row_rp) for row_rp in self.row_k)
        shape = len(self.half_k), len(self.half_t), num_rows
        sums = _Sums.zero(*shape, [len(row_mp) for row_mp in self.row_t], self.weight_p.device)
        entries = _GPU_ENTRIES if self.weight_p.is_cuda else _CPU_ENTRIES
        size = max(256, entries // max(1, 3 * len(self.half_k) + num_rows))
        for start in range(0, len(self.weight_p), size):
            self._add_block(sums, slice(start, start + size))
        return sums.products()

    def _add_block(self, sums: "_Sums", block: slice) -> None:
        weight_c = self.weight_p[block]
        scale_c = None if self.scale_p is None else self.scale_p[block]
        first_kc, second_kc = self._halves(self.half_k, block, scale_c)
        first_tc, second_tc = self._halves(self.half_t, block, scale_c)
        step_kc = first_kc * self.share_k2[:, :1] + second_kc * self.share_k2[:, 1:]
        own_tc = first_tc * self.share_t2[:, :1] + second_tc * self.share_t2[:, 1:]
        metric_tc = weight_c.expand(len(own_tc), -1)
        if self.square_t is not None:
            metric_tc = torch.stack([square_p[block] for square_p in self.square_t]) * weight_c
        root_tc, pull_tc = metric_tc.sqrt(), metric_tc * own_tc
        sums.kernel_kt += step_kc @ pull_tc.T
        sums.norm_t += (own_tc * root_tc).square().sum(1, dtype=torch.float64)
        sums.signal_tk += metric_tc @ (first_kc * second_kc).T
        sums.own_signal_t += (metric_tc * first_tc * second_tc).sum(1, dtype=torch.float64)
        if self.row_k:
            row_rc = torch.cat([row_rp[:, block] for row_rp in self.row_k]).float()
            sums.along_rt += row_rc @ (pull_tc if scale_c is None else pull_tc * scale_c).T
        for task, root_c in enumerate(root_tc):
            scaled_kc = step_kc * root_c
            sums.gram_tkk[task] += scaled_kc @ scaled_kc.T
            if len(self.row_t[task]) == 0:
                continue
            asked_c = metric_tc[task] if scale_c is None else metric_tc[task] * scale_c
            derived_mc = self.turned_row_t[task][:, block].float() * asked_c
            if self.square_t is not None:
                square_mc = self.row_t[task][:, block].float().square()
                derived_mc = derived_mc + square_mc * (weight_c * own_tc[task])
            sums.influence[task] += derived_mc @ step_kc.T

    @staticmethod
    def _halves(
        halves: Sequence[Tensor], block: slice, scale_c: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The steps of both halves of the samples, in a block."""
        step_n2c = torch.stack([half_2p[:, block] for half_2p in halves])
        if scale_c is not None:
            step_n2c = step_n2c * scale_c
        return step_n2c[:, 0], step_n2c[:, 1]


def _twice(turned: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda row_np: turned(turned(row_np))


def _shares(gradients: Sequence[MeasuredGradient]) -> Tensor:
    """What either half weighs in a mean."""
    weight_n2 = torch.stack([each.mean.weight_2 for each in gradients])
    return weight_n2 / weight_n2.sum(1, keepdim=True).clamp(min=torch.finfo(weight_n2.dtype).tiny)


def _squares(gradient: MeasuredGradient) -> Tensor:
    square_p = gradient.mean.square_p
    if square_p is None:
        raise ValueError("a task's squared gradients are needed for its Fisher information.")
    if not bool((square_p >= 0).all()):
        raise ValueError("squared gradients must be zero or more everywhere, but they are not.")
    return square_p
