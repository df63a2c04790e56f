"""The optimizer's step: Adam's by its formula, SGD's as it is, Muon's with singular values of 1."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from dids.gradients import Coordinates
from dids.impact.preconditioner import Preconditioner, SecondMoments, _warn_of


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 5, bias=True)
        self.second = nn.Linear(5, 3, bias=False)


def stepped(optimizer, model, steps=3):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return optimizer


def entries(model, coordinates, tensors):
    return coordinates.gather({name: tensors[p] for name, p in model.named_parameters()})


@pytest.mark.parametrize("max_coordinates", [None, 1])
def test_adams_step_is_its_own_next_step_without_momentum(max_coordinates):
    model = Small()
    optimizer = stepped(torch.optim.Adam(model.parameters(), lr=0.1, eps=1e-6), model)
    coordinates = Coordinates.of(model, max_coordinates=max_coordinates)
    found = Preconditioner.of(model, optimizer, coordinates)
    moments = {p: optimizer.state[p]["exp_avg_sq"] / (1 - 0.999**3) for p in model.parameters()}
    expected = 1.0 / (entries(model, coordinates, moments).sqrt() + 1e-6)
    row = torch.randn(2, coordinates.size)
    torch.testing.assert_close(found.times(row), row * expected)
    torch.testing.assert_close(found.root_times(found.root_times(row)), found.times(row))
    saved = Preconditioner.adam(SecondMoments.of(model, optimizer), coordinates)
    torch.testing.assert_close(saved.times(row), found.times(row))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_plain_gradient_steps_stay_as_they_are(momentum):
    model = Small()
    optimizer = stepped(torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum), model)
    coordinates = Coordinates.of(model)
    row = torch.randn(2, coordinates.size)
    for made in (
        Preconditioner.of(model, optimizer, coordinates),
        Preconditioner.of(model, None, coordinates),
        Preconditioner.adam(None, coordinates),
    ):
        torch.testing.assert_close(made.times(row), row)


def test_groups_with_a_smaller_learning_rate_take_smaller_steps():
    model = Small()
    groups = [
        {"params": list(model.first.parameters()), "lr": 0.1},
        {"params": list(model.second.parameters()), "lr": 0.02},
    ]
    coordinates = Coordinates.of(model)
    found = Preconditioner.of(model, torch.optim.SGD(groups, lr=0.1), coordinates)
    step = found.times(torch.ones(coordinates.size))
    slot = coordinates.slots["second.weight"]
    assert torch.allclose(step[slot.start : slot.stop], torch.tensor(0.2))
    assert torch.allclose(step[: slot.start], torch.tensor(1.0))


def muon_of(model):
    matrices = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    return stepped(torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0), model, steps=4)


def test_muons_step_gives_the_momentum_the_singular_values_one():
    model = Small()
    optimizer = muon_of(model)
    coordinates = Coordinates.of(model)
    found = Preconditioner.of(model, optimizer, coordinates)
    momentum = {
        p: optimizer.state[p].get("momentum_buffer", torch.zeros_like(p)).detach()
        for p in model.parameters()
    }
    step = found.times(entries(model, coordinates, momentum))
    slot = coordinates.slots["second.weight"]  # 3 x 5: full row rank
    matrix = step[slot.start : slot.stop].view(slot.shape)
    torch.testing.assert_close(torch.linalg.svdvals(matrix), torch.ones(3), rtol=1e-3, atol=1e-3)
    expected = torch.linalg.svd(momentum[model.second.weight], full_matrices=False)
    torch.testing.assert_close(matrix, expected.U @ expected.Vh, rtol=1e-3, atol=1e-3)


def test_muon_turns_kept_columns_as_it_turns_all_of_them():
    model = Small()
    optimizer = muon_of(model)
    row = {name: torch.randn(p.shape) for name, p in model.named_parameters()}
    whole, some = Coordinates.of(model), Coordinates.of(model, max_coordinates=20)
    all_p = Preconditioner.of(model, optimizer, whole).times(whole.gather(row))
    kept_p = Preconditioner.of(model, optimizer, some).times(some.gather(row))
    for name, slot in some.slots.items():
        wide = whole.slots[name]
        expected = slot.select(all_p[wide.start : wide.stop].view(wide.shape))
        torch.testing.assert_close(kept_p[slot.start : slot.stop], expected)


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_muons_steps_of_matrices_of_other_shapes_are_as_long_as_its_own(adjust):
    model = Small()
    matrices = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    settings = {"lr": 0.02, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False}
    optimizer = torch.optim.Muon(matrices, **settings, adjust_lr_fn=adjust)
    stepped(optimizer, model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradient = {name: p.grad.clone() for name, p in model.named_parameters()}
    coordinates = Coordinates.of(model)
    step = Preconditioner.of(model, optimizer, coordinates).times(coordinates.gather(gradient))
    optimizer.step()  # the same gradients again, and no momentum: the momentum is the gradient

    def ratio(name):
        slot = coordinates.slots[f"{name}.weight"]
        moved = model.get_parameter(f"{name}.weight").detach() - before[f"{name}.weight"]
        return moved.norm() / step[slot.start : slot.stop].norm()

    # Muon's own iteration gives singular values between 0.7 and 1.2.
    assert 0.6 < ratio("first") / ratio("second") < 1.7


def test_amsgrads_step_is_by_the_largest_moment():
    model = Small()
    optimizer = stepped(torch.optim.Adam(model.parameters(), lr=0.1, amsgrad=True), model)
    for parameter in model.parameters():
        optimizer.state[parameter]["exp_avg_sq"].zero_()
    coordinates = Coordinates.of(model)
    found = Preconditioner.of(model, optimizer, coordinates)
    largest = {p: optimizer.state[p]["max_exp_avg_sq"] / (1 - 0.999**3) for p in model.parameters()}
    expected = 1.0 / (entries(model, coordinates, largest).sqrt() + 1e-8)
    torch.testing.assert_close(found.scale_p, expected)


def test_steps_of_an_optimizer_that_is_not_known_are_plain_and_that_is_said_once(caplog):
    model = Small()
    optimizer = Accelerator().prepare(stepped(torch.optim.Rprop(model.parameters()), model))
    _warn_of.cache_clear()
    coordinates = Coordinates.of(model)
    for _ in range(2):
        found = Preconditioner.of(model, optimizer, coordinates)
    assert torch.equal(found.scale_p, torch.ones(coordinates.size))
    assert SecondMoments.of(model, optimizer) is None
    assert [record.getMessage() for record in caplog.records] == [
        "impact takes steps of Rprop for plain gradient steps: of its state it knows only what "
        "Adam, Adafactor, Adagrad, RMSprop, SGD and torch.optim.Muon keep."
    ]
