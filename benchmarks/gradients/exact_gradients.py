"""Inner products of the full per-sample gradients, by plain autograd, one sample at a time.

All gradients at once would be gigabytes, so a few parameters are looked at at a time, and their
inner products summed.

Axes: n sequences, p entries of the parameters looked at.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.gradients.own_rows import is_block_matrix
from benchmarks.gradients.subject import Subject
from dids.gradients import sample_losses

_COLUMNS = 1 << 18
"""Entries whose products are summed in float32 before they go into the float64 sum."""


def gradient_grams(subject: Subject, max_bytes: int | None = None) -> dict[str, Tensor]:
    """Inner products over all pairs, of all parameters and of the blocks' matrices alone.

    Args:
        subject: Model and sequences.
        max_bytes: Memory for gradients; 2 GB, 24 GB on a GPU.

    Returns:
        ``all`` and ``linear``, each ``[n, n]`` in float64 on the CPU.
    """
    count = subject.num_sequences
    max_bytes = max_bytes or (24 if subject.device.type == "cuda" else 2) << 30
    zeros_nn = torch.zeros(count, count, dtype=torch.float64)
    grams = {"all": zeros_nn, "linear": zeros_nn.clone()}
    max_entries = max_bytes // (4 * count)
    for is_linear, parameters in _groups(subject.model, max_entries):
        gram_nn = _gram(subject, parameters)
        grams["all"] += gram_nn
        if is_linear:
            grams["linear"] += gram_nn
    return grams


def _groups(model: nn.Module, max_entries: int) -> Iterator[tuple[bool, list[nn.Parameter]]]:
    """Parameters of one kind that fit together; one that is too large goes alone."""
    for is_linear in (False, True):
        group: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            if is_block_matrix(name, parameter) != is_linear:
                continue
            if group and sum(p.numel() for p in group) + parameter.numel() > max_entries:
                yield is_linear, group
                group = []
            group.append(parameter)
        if group:
            yield is_linear, group


def _gram(subject: Subject, parameters: list[nn.Parameter]) -> Tensor:
    num_entries = sum(parameter.numel() for parameter in parameters)
    gradient_np = torch.empty(subject.num_sequences, num_entries, device=subject.device)
    number = 0
    for batch in subject.batches:
        for sample in range(len(batch["input_ids"])):
            alone = {name: value[sample : sample + 1] for name, value in batch.items()}
            gradients = torch.autograd.grad(sample_losses(subject.model, alone)[0], parameters)
            start = 0
            for gradient in gradients:
                stop = start + gradient.numel()
                gradient_np[number, start:stop] = gradient.flatten()
                start = stop
            number += 1
    gram_nn = torch.zeros(len(gradient_np), len(gradient_np), dtype=torch.float64)
    for start in range(0, num_entries, _COLUMNS):
        part_np = gradient_np[:, start : start + _COLUMNS]
        gram_nn += (part_np @ part_np.T).double().cpu()
    return gram_nn
