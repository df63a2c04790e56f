"""What the paper's authors released, written anew from its description.

Sample by sample a backward pass for the last tenth of the parameter tensors, then a dense
Rademacher projection whose matrix is drawn block by block. Its 300 tokens a sample are no limit
here: sequences are shorter.

Axes: b samples, p gradient entries, d feature dimensions.
"""

import torch
from torch import Tensor

from benchmarks.gradients.row import Row, Step
from benchmarks.gradients.subject import Batch, Subject
from dids.gradients import sample_losses

DIM = 1024
BLOCK_DIM = 128
"""Columns of the projection that exist at once."""


def features(subject: Subject) -> Step:
    """The last tenth of the tensors, densely projected."""
    model = subject.model_copy()
    named = list(model.named_parameters())
    kept = named[-max(1, len(named) // 10) :]
    for name, parameter in named:
        parameter.requires_grad_(name in dict(kept))
    parameters = [parameter for _, parameter in kept]

    def step(batch: Batch) -> Tensor:
        rows = []
        for sample in range(len(batch["input_ids"])):
            alone = {name: value[sample : sample + 1] for name, value in batch.items()}
            gradients = torch.autograd.grad(sample_losses(model, alone)[0], parameters)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
        return dense_rademacher(torch.stack(rows))

    return step


def dense_rademacher(gradient_bp: Tensor) -> Tensor:
    """The projection to `DIM`, the same matrix at every call."""
    generator = torch.Generator(gradient_bp.device).manual_seed(0)
    blocks = []
    for _ in range(0, DIM, BLOCK_DIM):
        matrix_pd = torch.empty(gradient_bp.shape[1], BLOCK_DIM, device=gradient_bp.device)
        matrix_pd.bernoulli_(0.5, generator=generator).mul_(2.0).sub_(1.0)
        blocks.append(gradient_bp @ matrix_pd)
    return torch.cat(blocks, 1)


ROWS = (
    Row(
        "released loop: last tenth, dense 1,024",
        "features",
        features,
        DIM,
        covers="other",
        quality_batch=128,
    ),
)
