"""The loss in plain PyTorch, for libraries that cannot differentiate ours, and a cheap projection.

Axes: b samples, t tokens, v vocabulary, n entries of a parameter, d feature dimensions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dids.gradients.random_signs import random_signs


def loss_of_ids(model: nn.Module, ids_bt: Tensor) -> Tensor:
    """Each sample's mean negative log-likelihood, every token scored."""
    logits_btv: Tensor = model(input_ids=ids_bt, use_cache=False).logits
    nll_bt = functional.cross_entropy(
        logits_btv[:, :-1].transpose(1, 2).float(), ids_bt[:, 1:], reduction="none"
    )
    return nll_bt.mean(1)


class SignFold:
    """A count sketch of whole per-sample gradients: the cheapest projection there is."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._signs: dict[str, Tensor] = {}

    def add_(self, feature_bd: Tensor, name: str, gradient_bn: Tensor) -> None:
        """Add a parameter's signed entries to the buckets they fall into."""
        count = gradient_bn.shape[1]
        if name not in self._signs:
            signs_n = random_signs(0, name, count).to(gradient_bn.device, torch.float32)
            self._signs[name] = signs_n
        signed_bn = functional.pad(gradient_bn * self._signs[name], (0, -count % self.dim))
        feature_bd += signed_bn.view(len(signed_bn), -1, self.dim).sum(1)
