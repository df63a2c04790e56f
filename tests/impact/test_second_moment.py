"""What optimizers divide by, against their own formulas, whatever form they keep it in."""

import math

import pytest
import torch
from torch import nn
from transformers.optimization import Adafactor

from dids.gradients import Coordinates
from dids.impact.preconditioner import Preconditioner, SecondMoments
from dids.impact.second_moment import epsilon_of, second_moment

SHAPE = (7, 5)


def gradients():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(SHAPE, generator=generator) for _ in range(3)]


def after_steps(make):
    """The optimizer's group and state of one parameter."""
    parameter = nn.Parameter(torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)))
    optimizer = make([parameter])
    for gradient in gradients():
        parameter.grad = gradient.clone()
        optimizer.step()
    return optimizer.param_groups[0], optimizer.state[parameter]


@pytest.mark.parametrize("centered", [False, True])
def test_of_rmsprop(centered):
    group, state = after_steps(
        lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.8, eps=1e-5, centered=centered)
    )
    square, mean = torch.zeros(SHAPE), torch.zeros(SHAPE)
    for gradient in gradients():
        square = 0.8 * square + 0.2 * gradient**2
        mean = 0.8 * mean + 0.2 * gradient
    expected = square - mean**2 if centered else square
    torch.testing.assert_close(second_moment(group, state, SHAPE), expected)
    assert epsilon_of(group) == 1e-5


def test_of_adagrad():
    group, state = after_steps(lambda p: torch.optim.Adagrad(p, lr=0.1, eps=1e-6))
    expected = sum(gradient**2 for gradient in gradients())
    torch.testing.assert_close(second_moment(group, state, SHAPE), expected)


@pytest.mark.parametrize("shape", [(7, 5), (35,)])
def test_adafactors_is_what_it_divides_a_gradient_by(shape):
    """Its own step, with a gradient so small that nothing it keeps moves, and no clipping."""
    parameter = nn.Parameter(torch.ones(shape))
    optimizer = Adafactor(
        [parameter], lr=0.1, scale_parameter=False, relative_step=False, clip_threshold=1e30
    )
    for gradient in gradients():
        parameter.grad = gradient.reshape(shape)
        optimizer.step()
    group, state = optimizer.param_groups[0], optimizer.state[parameter]
    moment = second_moment(group, state, shape).clone()
    before, small = parameter.detach().clone(), 1e-4 * torch.rand(shape)
    state["step"] = 10**9  # beta2 is nearly 1
    parameter.grad = small.clone()
    optimizer.step()
    step = (before - parameter.detach()) / 0.1
    torch.testing.assert_close(step, small / moment.sqrt(), rtol=1e-2, atol=1e-5)


def test_adafactors_steps_are_as_long_as_its_parameters_where_it_is_told_so():
    model = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Linear(5, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.full((5, 6), 2.0))
        model[1].weight.copy_(torch.full((4, 5), 0.5))
    optimizer = Adafactor(model.parameters(), relative_step=True, warmup_init=False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    found = Preconditioner.of(model, optimizer, Coordinates.of(model)).scale_p
    torch.testing.assert_close(found[:30], torch.ones(30), rtol=1e-4, atol=0.0)
    torch.testing.assert_close(found[30:], torch.full((20,), 0.25), rtol=1e-4, atol=0.0)
    assert set(SecondMoments.of(model, optimizer).by_name) == {"0.weight", "1.weight"}


@pytest.mark.parametrize("step", ["state", "group", "k", "nowhere"])
def test_of_adams_that_count_their_steps_elsewhere(step):
    """Apex counts in the group, and so does schedule-free Adam."""
    square = torch.rand(SHAPE)
    group, state = {"betas": (0.9, 0.99)}, {"exp_avg_sq": square}
    if step != "nowhere":
        (state if step == "state" else group)["k" if step == "k" else "step"] = 4
    expected = square if step == "nowhere" else square / (1 - 0.99**4)
    torch.testing.assert_close(second_moment(group, state, SHAPE), expected)


@pytest.mark.parametrize(("size", "block"), [(4096, 256), (5000, 256), (4097, 2048), (70, 64)])
def test_of_eight_bits_in_blocks(size, block):
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(256, generator=generator)
    number = torch.randint(0, 256, (size,), generator=generator, dtype=torch.uint8)
    largest = torch.rand(math.ceil(size / block), generator=generator)
    slow = [table[n] * largest[place // block] for place, n in enumerate(number.tolist())]
    state = {"step": 2, "state2": number, "qmap2": table, "absmax2": largest}
    found = second_moment({"betas": (0.9, 0.99)}, state, (size,))
    torch.testing.assert_close(found, torch.stack(slow) / (1 - 0.99**2))


def test_of_bitsandbytes_in_full():
    square = torch.rand(SHAPE)
    group, state = {"betas": (0.9, 0.99, 0.5)}, {"step": 2, "state1": square, "state2": square}
    torch.testing.assert_close(second_moment(group, state, SHAPE), square / (1 - 0.99**2))


@pytest.mark.bitsandbytes
@pytest.mark.parametrize("bits", [8, 32])
def test_of_bitsandbytes_itself(bits):
    bnb = pytest.importorskip("bitsandbytes")
    parameter = nn.Parameter(torch.zeros(80, 80))
    kinds = (torch.optim.AdamW, bnb.optim.AdamW8bit if bits == 8 else bnb.optim.AdamW)
    found = []
    for make in kinds:
        optimizer = make([parameter], lr=1e-3)
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            parameter.grad = torch.randn(80, 80, generator=generator)
            optimizer.step()
        state = optimizer.state[parameter]
        found.append(second_moment(optimizer.param_groups[0], state, parameter.shape))
    assert ((found[1] - found[0]) / found[0]).abs().mean() < (0.02 if bits == 8 else 1e-6)


def test_what_is_kept_in_another_shape_or_not_at_all_is_none():
    low_rank = {"step": 3, "exp_avg_sq": torch.rand(2, 5)}  # GaLore's
    assert second_moment({"betas": (0.9, 0.99)}, low_rank, SHAPE) is None
    sgd = after_steps(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    assert second_moment(*sgd, SHAPE) is None
    assert second_moment({"betas": (0.9, 0.99)}, {}, SHAPE) is None
    assert second_moment({"scale_parameter": False}, {}, SHAPE) is None
