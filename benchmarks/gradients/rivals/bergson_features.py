"""bergson: two-sided projection, each layer of its own, layers side by side (in memory, no index).

Its collector is used as its training callback uses it, without writing to disk. As its own
``build`` does, the weights are frozen and the head is left out.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.gradients.row import Row, Step
from benchmarks.gradients.subject import Batch, Subject
from dids.gradients import sample_losses
from dids.gradients.model_state import frozen_weights


def features(dim: int) -> Callable[[Subject], Step]:
    """About ``dim`` dimensions in all, as near as equal squares a layer come."""

    def prepare(subject: Subject) -> Step:
        from bergson import GradientProcessor
        from bergson.collector.gradient_collectors import StreamingGradientCollector

        model = subject.model_copy()
        model.enable_input_require_grads()  # type: ignore[operator]
        decoder = model.get_submodule("model")
        num_layers = sum(isinstance(module, nn.Linear) for module in decoder.modules())
        collector = StreamingGradientCollector(
            model=decoder,
            processor=GradientProcessor(projection_dim=max(1, round(math.sqrt(dim / num_layers)))),
            dtype=torch.float32,
        )

        def step(batch: Batch) -> Tensor:
            with frozen_weights(model), collector:
                torch.autograd.backward(sample_losses(model, batch).sum())
            layers = [collector.mod_grads[name] for name in sorted(collector.mod_grads)]
            collector.mod_grads.clear()
            return torch.cat(layers, 1)

        return step

    return prepare


ROWS = tuple(
    Row(f"bergson, about {dim:,}", "features", features(dim), dim, covers="linear")
    for dim in (1024, 4096)
)
