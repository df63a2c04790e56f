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

Within = Literal["damped", "fisher", "step", "plain"]
"""What steps are compared in: each task's Fisher information, with steps of an optimizer that has
seen some of the task or with its own; the optimizer's own metric, where a kernel is the loss that
one step saves, to first order; or none, where gradients are compared as they are."""
OF_FISHER: tuple[Within, ...] = ("damped", "fisher")
"""Those that need a task's squares."""
TASK_PART = 1 / 16
"""Of a task's squared gradients, what is added to the optimizer's second moments within ``damped``:
a batch of sixteen of its samples would add about so much."""

# Entries of gradients, rows and steps in every task's metric in a block: 8 MiB in float32. Twice as
# many, and a CPU's memory for them is fresh pages in every block.
_CPU_ENTRIES, _GPU_ENTRIES = 2**21, 2**27


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

    pull_tn: Tensor
    """Of a task's own step with the steps of all domains, then with all their rows."""
    gram_tkk: Tensor
    norm_t: Tensor
    signal_tk: Tensor
    own_signal_t: Tensor
    influence_mk: Tensor
    """Rows of all tasks, end to end."""

    @classmethod
    def zero(
        cls, num_domains: int, num_tasks: int, num_rows: int, num_task_rows: int, like: Tensor
    ) -> "_Sums":
        def zeros(*shape: int) -> Tensor:
            return like.new_zeros(shape, dtype=torch.float64)

        return cls(
            pull_tn=zeros(num_tasks, num_domains + num_rows),
            gram_tkk=zeros(num_tasks, num_domains, num_domains),
            norm_t=zeros(num_tasks),
            signal_tk=zeros(num_tasks, num_domains),
            own_signal_t=zeros(num_tasks),
            influence_mk=zeros(num_task_rows, num_domains),
        )

    def products(self, rows_of_task: Sequence[int]) -> StepProducts:
        num_domains = self.gram_tkk.shape[-1]
        pull_nt = self.pull_tn.T.contiguous().cpu()
        return StepProducts(
            gram_tkk=((self.gram_tkk + self.gram_tkk.mT) / 2).cpu(),
            kernel_kt=pull_nt[:num_domains],
            target_norm_t=self.norm_t.cpu(),
            signal_tk=self.signal_tk.cpu(),
            target_signal_t=self.own_signal_t.cpu(),
            along_rt=pull_nt[num_domains:],
            influence=self.influence_mk.cpu().split_with_sizes(list(rows_of_task)),
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
        if within in OF_FISHER:
            turned = _twice(turned)
        elif scale_p is not None:
            scale_p = scale_p.sqrt()

        self.half_k = [turned(each.mean.halves_2p) for each in domains]
        self.half_t = [turned(each.mean.halves_2p) for each in tasks]
        self.share_k2, self.share_t2 = _shares(domains), _shares(tasks)
        like = self.half_t[0]
        self.scale_p, self.weight_p = scale_p, weight_p.to(like)

        def turned_rows(sample: GroupSample) -> Tensor:
            # Turned in all their digits; where nothing is turned they stay as they are.
            return turned(sample.row_rp.to(like)) if preconditioner.root_by_slot else sample.row_rp

        # Where it is kept of a domain, a sample's gradient is multiplied with the task's step.
        self.row_k = [turned_rows(each.sample) for each in domains if each.sample is not None]
        samples = [each.sample for each in tasks if each.sample is not None]
        self.row_t = [sample.row_rp for sample in samples]
        self.turned_row_t = [turned_rows(sample) for sample in samples]
        count_t = [0 if each.sample is None else len(each.sample.row_rp) for each in tasks]
        task_t = torch.arange(len(tasks))
        self.rows_of_task = count_t
        self.task_m = task_t.repeat_interleave(torch.tensor(count_t)).to(like.device)
        self.square_t = [_squares(each) for each in tasks] if within in OF_FISHER else None
        self.task_part = TASK_PART if within == "damped" else 0.0

        # Memory for a block, used again: fresh pages would cost as much as what fills them.
        num_domains, num_tasks = len(domains), len(tasks)
        num_own = num_domains + sum(len(row_rp) for row_rp in self.row_k)
        touched = 2 * num_domains + num_own + num_tasks * num_domains + 2 * len(self.task_m)
        entries = _GPU_ENTRIES if like.is_cuda else _CPU_ENTRIES
        self.size = 256 * max(1, entries // (256 * touched))
        self.own_nc = like.new_empty(num_own, self.size)
        self.pulled_tkc = like.new_empty(num_tasks, num_domains, self.size)

    def products(self) -> StepProducts:
        """Every sum over all blocks."""
        num_domains, num_tasks = len(self.half_k), len(self.half_t)
        num_rows = len(self.own_nc) - num_domains
        sums = _Sums.zero(num_domains, num_tasks, num_rows, len(self.task_m), self.weight_p)
        for start in range(0, len(self.weight_p), self.size):
            self._add_block(sums, slice(start, start + self.size))
        return sums.products(self.rows_of_task)

    def _add_block(self, sums: _Sums, block: slice) -> None:
        """Gradients stay as they are: what scales either side of a product is in the metric."""
        first_kc, second_kc = torch.stack([half_2p[:, block] for half_2p in self.half_k], dim=1)
        first_tc, second_tc = torch.stack([half_2p[:, block] for half_2p in self.half_t], dim=1)
        num_domains, length = first_kc.shape
        own_nc, pulled_tkc = self.own_nc[:, :length], self.pulled_tkc[:, :, :length]

        step_kc = torch.mul(first_kc, self.share_k2[:, :1], out=own_nc[:num_domains])
        step_kc.addcmul_(second_kc, self.share_k2[:, 1:])
        own_tc = first_tc * self.share_t2[:, :1] + second_tc * self.share_t2[:, 1:]
        kept_tc = torch.ones_like(own_tc)
        if self.square_t is None:
            metric_tc = self._scaled(kept_tc, block)
        else:
            square_tc = torch.stack([square_p[block] for square_p in self.square_t]).to(own_tc)
            kept_tc = self._kept(square_tc, block)
            metric_tc = self._scaled(square_tc * kept_tc, block)
        pull_tc = metric_tc * own_tc
        sums.norm_t += (pull_tc * own_tc).sum(1, dtype=torch.float64)
        sums.signal_tk += metric_tc @ (first_kc * second_kc).T
        sums.own_signal_t += (metric_tc * first_tc * second_tc).sum(1, dtype=torch.float64)

        if self.row_k:
            own_nc[num_domains:] = torch.cat([row_rp[:, block] for row_rp in self.row_k])
        sums.pull_tn += pull_tc @ own_nc.T

        torch.mul(step_kc, metric_tc[:, None], out=pulled_tkc)
        gram_kn = step_kc @ pulled_tkc.flatten(0, 1).T  # one product, not one for every task
        sums.gram_tkk += gram_kn.view(num_domains, -1, num_domains).transpose(0, 1)

        if self.row_t:
            derived_mc = torch.cat([row_mp[:, block] for row_mp in self.turned_row_t])
            derived_mc = metric_tc.index_select(0, self.task_m).mul_(derived_mc)
            if self.square_t is not None:
                row_mc = torch.cat([row_mp[:, block] for row_mp in self.row_t]).to(own_tc)
                scaled_tc = self._scaled(own_tc * kept_tc.square(), block)
                derived_mc.addcmul_(row_mc.square_(), scaled_tc.index_select(0, self.task_m))
            sums.influence_mk += derived_mc @ step_kc.T

    def _kept(self, square_tc: Tensor, block: slice) -> Tensor:
        """``v / (v + part of the squares)``, v being the optimizer's second moments, if it has any.

        The derivative of ``square * kept`` by the square is the square of this.
        """
        if self.task_part == 0.0 or self.scale_p is None:
            return torch.ones_like(square_tc)
        scale_c = self.scale_p[block]
        return 1.0 / (1.0 + self.task_part * square_tc * scale_c * scale_c)

    def _scaled(self, row_tc: Tensor, block: slice) -> Tensor:
        """Times the weights, and what scales the gradients on either side."""
        row_tc = row_tc * self.weight_p[block]
        if self.scale_p is None:
            return row_tc
        return row_tc * self.scale_p[block] * self.scale_p[block]


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
    if bool(square_p.clamp(max=0).count_nonzero()):  # "not a number" counts too
        raise ValueError("squared gradients must be zero or more everywhere, but they are not.")
    return square_p
