"""Low-rank adapters of experts, as peft's ``target_parameters`` makes them.

To expert e's matrix peft adds ``scaling B_e A_e`` (Hu et al. 2022, arXiv:2106.09685). The factors
of all experts lie in two linear layers that never run, so that no hook on them sees anything; their
gradients are worked out of both sides of that of the experts' matrix.

Axes: s visits of a token to an expert, o rows and i columns of an expert's matrix, r ranks, e
experts, u ranks of all experts.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dids.gradients.layer_gradient import wide

FACTORS = ("lora_A", "lora_B")


@dataclass(frozen=True, eq=False)
class ExpertAdapter:
    """One adapter of one parameter of experts.

    Attributes:
        wrapper: peft's ``ParamWrapper``.
        adapter: Its name in there.
    """

    wrapper: nn.Module
    adapter: str

    @property
    def attribute(self) -> str:
        """What it is added to."""
        return str(self.wrapper.parameter_name)

    @property
    def num_experts(self) -> int:
        """As many as there are matrices."""
        return int(self.wrapper.num_experts)  # type: ignore[arg-type]

    @property
    def is_active(self) -> bool:
        """Whether it is added, and is not a part of the matrices already."""
        wrapper = self.wrapper
        is_off = wrapper.disable_adapters or wrapper.merged
        return not is_off and self.adapter in wrapper.active_adapters  # type: ignore[operator]

    @property
    def scaling(self) -> float:
        """What the product of the factors is multiplied by."""
        return float(self.wrapper.scaling[self.adapter])  # type: ignore[index]

    def key(self, factor: str) -> str:
        """What tells a factor from the experts' own parameters."""
        return f"{self.attribute}.{factor}.{self.adapter}"

    def weight(self, factor: str) -> Tensor:
        """A factor of all experts, [u, i] or [o, u], as it is now."""
        found: Tensor = self.layer(factor).weight  # type: ignore[assignment]
        return found

    def layer(self, factor: str) -> nn.Module:
        """The linear layer that holds a factor."""
        found: nn.Module = getattr(self.wrapper, factor)[self.adapter]
        return found

    def down(self, expert: int) -> Float[Tensor, "r i"]:
        """A of one expert."""
        return wide(self.weight("lora_A").detach().chunk(self.num_experts)[expert])

    def up(self, expert: int) -> Float[Tensor, "o r"]:
        """B of one expert, times the scaling."""
        # Experts lie side by side in it rank by rank, and not one after the other.
        return wide(self.weight("lora_B").detach()[:, expert :: self.num_experts]) * self.scaling

    def left_of_down(
        self, left_so: Float[Tensor, "s o"], ranges: list[tuple[int, int, int]]
    ) -> Float[Tensor, "s r"]:
        """Of the experts' A, whose right side is that of their matrix.

        Args:
            left_so: The left side of the gradient of their matrix.
            ranges: Experts, and where their visits begin and end.
        """
        return torch.cat([left_so[start:stop] @ self.up(expert) for expert, start, stop in ranges])

    def right_of_up(
        self, right_si: Float[Tensor, "s i"], ranges: list[tuple[int, int, int]]
    ) -> Float[Tensor, "s u"]:
        """Of B of all experts, whose left side is that of their matrix.

        Every visit has zeros but for the ranks of its own expert. Arguments as above.
        """
        right_su = right_si.new_zeros(len(right_si), self.weight("lora_A").shape[0])
        for expert, start, stop in ranges:
            right_sr = right_si[start:stop] @ self.down(expert).T
            right_su[start:stop, expert :: self.num_experts] = right_sr * self.scaling
        return right_su


def by_base_layer(model: nn.Module) -> dict[nn.Module, list[ExpertAdapter]]:
    """Every adapter that peft adds to a parameter in the place of a layer, the inactive ones, too.

    By the module that has the parameter. peft's class is known by its name, so that nobody else
    waits for peft to be imported.
    """
    found: dict[nn.Module, list[ExpertAdapter]] = {}
    for module in model.modules():
        kind = type(module)
        if kind.__name__ == "ParamWrapper" and kind.__module__.startswith("peft."):
            adapters = [ExpertAdapter(module, name) for name in module.lora_A]  # type: ignore[union-attr]
            found.setdefault(module.get_base_layer(), []).extend(adapters)  # type: ignore[operator]
    return found
