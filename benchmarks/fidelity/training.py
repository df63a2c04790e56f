"""The optimizer of the base run."""

import torch
from torch import nn


def new_optimizer(model: nn.Module, learning_rate: float) -> torch.optim.AdamW:
    """AdamW as the Trainer sets it up."""
    return torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
