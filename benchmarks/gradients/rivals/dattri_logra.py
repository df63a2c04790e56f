"""dattri's LoGra: two-sided projection with dense matrices, layers side by side.

Its hook manager is used as its attributor uses it, without storing anything.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.gradients.row import Row, Step
from benchmarks.gradients.subject import Batch, Subject
from dids.gradients import sample_losses


def features(dim: int) -> Callable[[Subject], Step]:
    """About ``dim`` dimensions in all, as near as equal squares a layer come."""

    def prepare(subject: Subject) -> Step:
        from dattri.algorithm.block_projected_if.core.compressor import setup_model_compressors
        from dattri.algorithm.block_projected_if.core.hook import HookManager

        model, device = subject.model_copy(), str(subject.device)
        names = [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and ".layers." in name
        ]
        side = max(1, round(math.sqrt(dim / len(names))))
        common = {"device": device, "proj_max_batch_size": 64}
        compressors = setup_model_compressors(
            model,
            names,
            sparsifier_kwargs={**common, "proj_dim": side, "proj_type": "normal"},
            projector_kwargs={**common, "proj_dim": -1, "proj_type": "identity"},
            sample_inputs={"input_ids": subject.batches[0]["input_ids"]},
            device=device,
        )
        manager = HookManager(model, names, device=device)
        manager.set_compressors(compressors)

        def step(batch: Batch) -> Tensor:
            model.zero_grad()
            torch.autograd.backward(sample_losses(model, batch).sum())
            return torch.cat([layer.flatten(1) for layer in manager.get_compressed_grads()], 1)

        return step

    return prepare


ROWS = tuple(
    Row(f"dattri LoGra, about {dim:,}", "features", features(dim), dim, covers="linear")
    for dim in (1024, 4096)
)
