"""Which of several processes this one is."""

import torch


def rank() -> int | None:
    """Number of this process; None where a run has no other."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    return torch.distributed.get_rank()
