"""TRAK: ``vmap(grad)`` of all parameters and its ``BasicProjector``, dense Rademacher to 1,024.

The projector draws its matrix anew at every call: many samples at once cost little more than few.

Axes: n samples, t tokens, p gradient entries.
"""

import torch
from torch import Tensor

from benchmarks.gradients.rivals.torch_vmap import per_sample_gradients
from benchmarks.gradients.row import Row, Step
from benchmarks.gradients.subject import Batch, Subject

DIM = 1024
VMAP_BATCH = 8


def features(subject: Subject) -> Step:
    """Dense projection of whole gradients."""
    from trak.projectors import BasicProjector, ProjectionType

    model = subject.model_copy()
    gradients = per_sample_gradients(model)
    projector = BasicProjector(
        grad_dim=sum(parameter.numel() for parameter in model.parameters()),
        proj_dim=DIM,
        seed=0,
        proj_type=ProjectionType.rademacher,
        device=subject.device,
    )
    projector.free_memory()  # its matrix is as large as a hundred models

    def step(batch: Batch) -> Tensor:
        ids_nt = batch["input_ids"]
        gradient_np = torch.empty(len(ids_nt), projector.grad_dim, device=subject.device)
        for start in range(0, len(ids_nt), VMAP_BATCH):
            by_name = gradients(ids_nt[start : start + VMAP_BATCH])
            flat = [by_name[name].flatten(1) for name in sorted(by_name)]
            torch.cat(flat, 1, out=gradient_np[start : start + VMAP_BATCH])
        projected: Tensor = projector.project(gradient_np, model_id=0)
        projector.free_memory()
        return projected

    return step


ROWS = (Row("TRAK, dense 1,024", "features", features, DIM, quality_batch=64),)
