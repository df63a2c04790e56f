import numpy as np
import pytest
import torch

from dids.impact.clipping import clipped_share


def test_it_is_what_clipping_leaves_of_batches_of_the_domain():
    generator = torch.Generator().manual_seed(0)
    rows = 0.4 + torch.randn(4000, 30, generator=generator)
    weights = np.ones(len(rows))
    batches = rows[torch.randint(len(rows), (2000, 8), generator=generator)].mean(1)
    left = (1.5 / batches.norm(dim=1)).clamp(max=1.0).mean().item()
    some = clipped_share(rows[:600], weights[:600], batch_size=8, max_norm=1.5)
    assert some == pytest.approx(left, rel=0.06)


def test_short_gradients_are_left_alone():
    assert clipped_share(torch.full((3, 4), 0.01), np.ones(3), batch_size=2, max_norm=1.0) == 1.0
    assert clipped_share(torch.zeros(3, 4), np.ones(3), batch_size=2, max_norm=1.0) == 1.0


def test_ten_times_as_long_is_clipped_ten_times_as_much():
    rows = torch.randn(6, 20, generator=torch.Generator().manual_seed(1)) * 5
    settings = {"batch_size": 4, "max_norm": 1.0}
    once = clipped_share(rows, np.ones(6), **settings)
    assert clipped_share(rows * 10, np.ones(6), **settings) == pytest.approx(once / 10)
