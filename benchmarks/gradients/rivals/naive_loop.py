"""A loop over samples: the reference for Fisher information."""

import torch
from torch import Tensor

from benchmarks.gradients.row import Row, Step
from benchmarks.gradients.subject import Batch, Subject
from dids.gradients import sample_losses


def fisher(subject: Subject) -> Step:
    """Each sample's gradient by autograd, squared, summed."""
    model = subject.model_copy()
    names, parameters = zip(*model.named_parameters(), strict=True)

    def step(batch: Batch) -> dict[str, Tensor]:
        num_samples = len(batch["input_ids"])
        squares = {name: torch.zeros_like(p) for name, p in zip(names, parameters, strict=True)}
        for sample in range(num_samples):
            alone = {name: value[sample : sample + 1] for name, value in batch.items()}
            gradients = torch.autograd.grad(sample_losses(model, alone)[0], parameters)
            for name, gradient in zip(names, gradients, strict=True):
                squares[name].addcmul_(gradient, gradient, value=1.0 / num_samples)
        return squares

    return step


NAIVE_FISHER = "loop over samples, Fisher diagonal"
ROWS = (Row(NAIVE_FISHER, "fisher", fisher),)
