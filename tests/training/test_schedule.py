"""The learning rate is the Trainer's schedule, read at the fraction of tokens instead of steps."""

import pytest
import torch
from transformers import get_scheduler

from dids.errors import InputError
from dids.training.schedule import follow_tokens


def rates(progress, nominal_steps, num_steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(
        "linear", optimizer, num_warmup_steps=0, num_training_steps=nominal_steps
    )
    scheduler = follow_tokens(scheduler, progress, nominal_steps)
    found = []
    for _ in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_equal_token_steps_leave_the_schedule_as_it_is():
    assert rates(lambda step: step / 4, 4, 4) == [1.0, 0.75, 0.5, 0.25]


def test_rate_depends_on_tokens_and_not_on_steps():
    # Twice as many steps of half the tokens: every rate is held twice as long.
    assert rates(lambda step: step / 8, 4, 8) == [1.0, 1.0, 0.75, 0.5, 0.5, 0.5, 0.25, 0.0]


def test_rate_never_passes_the_end_of_the_schedule():
    assert rates(lambda step: 3.0 * step, 4, 3) == [1.0, 0.0, 0.0]


def test_schedule_that_is_no_function_of_the_step_is_refused():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(InputError, match="ReduceLROnPlateau"):
        follow_tokens(plateau, lambda step: 0.0, 4)
