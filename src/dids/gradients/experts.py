"""Gradients of experts, whose matrices Transformers keeps as one parameter of three axes.

Whatever multiplies them (a loop, batched or grouped products, a kernel) keeps nothing of what goes
on inside. So it is worked out again when the gradient of what they have put out is there: the
model's own pass stays as it is, and pays the experts' forward pass once more.

Axes: n tokens of all samples, one after the other, h hidden columns, k experts of a token, s visits
of a token to an expert, ordered by expert, b samples, t visits of a sample, o rows of a matrix.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dids.gradients.expert_adapters import FACTORS, ExpertAdapter
from dids.gradients.layer_gradient import (
    ExpertGradient,
    LayerGradient,
    OuterGradient,
    RowGradient,
    Visit,
    wide,
)

_FLAGS = ("has_gate", "has_bias", "is_transposed", "num_experts")


def is_experts(module: nn.Module) -> bool:
    """Whether a module is experts as ``transformers.integrations.moe`` describes them.

    Those with a norm of their own behind each expert are none that are known here.
    """
    return all(hasattr(module, flag) for flag in _FLAGS) and not getattr(
        module, "has_post_expert_norm", False
    )


@dataclass(frozen=True, eq=False)
class ExpertsCall:
    """What experts were called with.

    Attributes:
        hidden_nh: Their input.
        expert_nk: Which experts each token goes to; a number beyond the last is no expert.
        weight_nk: What each expert's output is multiplied by.
    """

    hidden_nh: Float[Tensor, "n h"]
    expert_nk: Int64[Tensor, "n k"]
    weight_nk: Float[Tensor, "n k"]


def expert_gradients(
    module: nn.Module,
    names: Mapping[str, str],
    uses: Mapping[str, int],
    call: ExpertsCall,
    gradient_nh: Float[Tensor, "n h"],
    num_samples: int,
    adapters: Sequence[ExpertAdapter] = (),
) -> Iterator[LayerGradient]:
    """The gradients of experts' parameters, and of adapters of them, on each sample.

    Args:
        module: The experts.
        names: By attribute, and by key of an adapter's factor, the names of the parameters that are
            asked for.
        uses: By name, how often the forward pass used it.
        call: What they were called with.
        gradient_nh: At their output.
        num_samples: Of the batch; each has equally many of the tokens.
        adapters: What is added to the matrices.

    Yields:
        Those of matrices, each followed by those of its adapters and biases.
    """
    visits = _Visits.of(call, int(module.num_experts), num_samples)  # type: ignore[arg-type]
    if not len(visits.token_s):
        return
    first = "gate_up_proj" if module.has_gate else "up_proj"
    adapters = [adapter for adapter in adapters if adapter.is_active]
    input_sh, down_so = (wide(each_nh[visits.token_s]) for each_nh in (call.hidden_nh, gradient_nh))
    down_so = down_so * wide(call.weight_nk.flatten()[visits.pair_s]).unsqueeze(1)
    inner, up = [], []
    for expert, start, stop in visits.ranges:
        up_oh, down_hi = (
            _matrix(module, attribute, expert, adapters) for attribute in (first, "down_proj")
        )
        bias_o = (
            wide(getattr(module, f"{first}_bias").detach()[expert]) if module.has_bias else None
        )
        inner_si, up_so = _through(
            module, input_sh[start:stop], up_oh, bias_o, down_so[start:stop] @ down_hi
        )
        inner.append(inner_si)
        up.append(up_so)
    sides = {first: (torch.cat(up), input_sh), "down_proj": (down_so, torch.cat(inner))}
    for attribute, (left_so, right_si) in sides.items():
        name = names.get(attribute)
        if name is not None:
            pair = (right_si, left_so) if module.is_transposed else (left_so, right_si)
            yield ExpertGradient(name, uses[name], *pair, visits.by_sample, visits.num_experts)
        for adapter in adapters:
            if adapter.attribute == attribute:
                yield from _adapter_gradients(adapter, names, uses, visits, left_so, right_si)
        name = names.get(f"{attribute}_bias")
        if name is not None:
            yield RowGradient(name, uses[name], *visits.rows(left_so), visits.num_experts)


def _adapter_gradients(
    adapter: ExpertAdapter,
    names: Mapping[str, str],
    uses: Mapping[str, int],
    visits: "_Visits",
    left_so: Float[Tensor, "s o"],
    right_si: Float[Tensor, "s i"],
) -> Iterator[LayerGradient]:
    """Of an adapter's factors, of both sides of the gradient of the matrices it is added to."""
    down, up = (names.get(adapter.key(factor)) for factor in FACTORS)
    if down is not None:
        left_sr = adapter.left_of_down(left_so, visits.ranges)
        yield ExpertGradient(
            down, uses[down], left_sr, right_si, visits.by_sample, visits.num_experts
        )
    if up is not None:
        right_su = adapter.right_of_up(right_si, visits.ranges)
        yield OuterGradient(up, uses[up], visits.places(left_so), visits.places(right_su))


def _matrix(
    module: nn.Module, attribute: str, expert: int, adapters: Sequence[ExpertAdapter]
) -> Float[Tensor, "o i"]:
    """One expert's matrix as it multiplies, with what adapters add."""
    matrix_oi = wide(getattr(module, attribute).detach()[expert])
    if module.is_transposed:
        matrix_oi = matrix_oi.T
    for adapter in adapters:
        if adapter.attribute == attribute:
            matrix_oi = torch.addmm(matrix_oi, adapter.up(expert), adapter.down(expert))
    return matrix_oi


def _through(
    module: nn.Module,
    input_sh: Float[Tensor, "s h"],
    up_oh: Float[Tensor, "o h"],
    bias_o: Float[Tensor, " o"] | None,
    inner_gradient_si: Float[Tensor, "s i"],
) -> tuple[Float[Tensor, "s i"], Float[Tensor, "s o"]]:
    """What one expert has between its matrices, and the gradient at the output of the first."""
    up_so = input_sh @ up_oh.T
    if bias_o is not None:
        up_so = up_so + bias_o
    with torch.enable_grad():
        up_so = up_so.detach().requires_grad_()
        activation = module._apply_gate if module.has_gate else module.act_fn
        inner_si: Tensor = activation(up_so)  # type: ignore[operator]
        (gradient_so,) = torch.autograd.grad(inner_si, up_so, inner_gradient_si)
    return inner_si.detach(), gradient_so


@dataclass(frozen=True, eq=False)
class _Visits:
    """Who goes where."""

    num_experts: int
    pair_s: Int64[Tensor, " s"]
    """Places in ``[n, k]``, flat."""
    token_s: Int64[Tensor, " s"]
    ranges: list[tuple[int, int, int]]
    """Experts that someone goes to, and where their visits begin and end."""
    by_sample: list[list[Visit]]
    expert_bt: Int64[Tensor, "b t"]
    """The experts of all places, the last for none."""

    @classmethod
    def of(cls, call: ExpertsCall, num_experts: int, num_samples: int) -> "_Visits":
        num_tokens, num_chosen = call.expert_nk.shape
        expert_p = call.expert_nk.flatten()
        order_p = expert_p.argsort(stable=True)  # tokens, and so samples, stay in order
        pair_s = order_p[: int((expert_p < num_experts).sum())]
        token_s = pair_s // num_chosen
        sample_s = token_s // (num_tokens // num_samples)
        block_u, count_u = torch.unique_consecutive(
            expert_p[pair_s] * num_samples + sample_s, return_counts=True
        )
        by_sample: list[list[Visit]] = [[] for _ in range(num_samples)]
        ranges: list[tuple[int, int, int]] = []
        start = 0
        for block, count in zip(block_u.tolist(), count_u.tolist(), strict=True):
            expert, sample = divmod(block, num_samples)
            stop = start + count
            by_sample[sample].append(Visit(expert, start, stop))
            if ranges and ranges[-1][0] == expert:
                ranges[-1] = (expert, ranges[-1][1], stop)
            else:
                ranges.append((expert, start, stop))
            start = stop
        expert_bt = expert_p.clamp(max=num_experts - 1).view(num_samples, -1)
        return cls(num_experts, pair_s, token_s, ranges, by_sample, expert_bt)

    def rows(self, left_so: Float[Tensor, "s o"]) -> tuple[Tensor, Tensor]:
        """Every place's expert and its gradient: as of an embedding."""
        return self.expert_bt, self.places(left_so)

    def places(self, value_so: Float[Tensor, "s o"]) -> Float[Tensor, "b t o"]:
        """Values of visits by sample and place, zero where there is no expert."""
        value_po = value_so.new_zeros(self.expert_bt.numel(), value_so.shape[1])
        value_po[self.pair_s] = value_so
        return value_po.view(*self.expert_bt.shape, -1)
