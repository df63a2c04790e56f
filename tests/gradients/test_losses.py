import pytest
import torch
from tiny_models import make_batch, sample_of, slow_loss, tiny_llama

from dids.gradients import sample_losses
from dids.gradients.token_nll import token_nll


def test_loss_is_the_mean_over_scored_tokens_of_each_sample_alone():
    model, batch = tiny_llama(), make_batch([9, 2, 5], prompt=2)
    batch["labels"][0, 4] = -100  # a hole, as between turns of a chat
    losses = sample_losses(model, batch)
    for row in range(3):
        expected = slow_loss(model, sample_of(batch, row))
        torch.testing.assert_close(losses[row], expected + 0.0, rtol=1e-9, atol=0.0)


def test_nothing_scored_is_a_loss_of_zero_without_gradient():
    model, batch = tiny_llama(), make_batch([5, 1])
    batch["labels"][0] = -100
    losses = sample_losses(model, batch)
    assert losses.tolist() == [0.0, 0.0]
    losses.sum().backward()
    assert all(float(p.grad.abs().sum()) == 0 for p in model.parameters())


def test_losses_are_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert sample_losses(tiny_llama(double=False), make_batch([5])).dtype == torch.float32


@pytest.mark.parametrize("overwrites", [False, True])
@pytest.mark.parametrize("num_others", [0, 2, 9, 30])  # of 30 rows, ten a chunk
def test_token_nll_and_its_gradient_equal_cross_entropy(monkeypatch, overwrites, num_others):
    monkeypatch.setattr("dids.gradients.token_nll.CHUNK_ENTRIES", 130)
    generator = torch.Generator().manual_seed(num_others)
    logits = (3 * torch.randn(30, 13, dtype=torch.float64, generator=generator)).requires_grad_()
    target = torch.randint(0, 13, (30,), generator=generator)
    target[torch.randperm(30, generator=generator)[:num_others]] = -100
    target[:num_others:3] = -100
    weight = torch.randn(30, dtype=torch.float64, generator=generator)
    fast = token_nll(logits * 1.0, target, overwrites=overwrites)
    slow = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-14)
    (fast_gradient,) = torch.autograd.grad((weight * fast).sum(), logits)
    (slow_gradient,) = torch.autograd.grad((weight * slow).sum(), logits)
    torch.testing.assert_close(fast_gradient, slow_gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("num_others", [1, 15])
def test_rows_that_are_not_scored_may_hold_no_numbers(num_others):
    logits, target = torch.randn(20, 5), torch.randint(0, 5, (20,))
    logits[:num_others], target[:num_others] = torch.nan, -100
    logits.requires_grad_()
    nll = token_nll(logits, target)
    nll.sum().backward()
    assert bool(torch.isfinite(nll).all())
    assert float(logits.grad[:num_others].abs().sum()) == 0
    expected = logits.detach()[num_others:].softmax(1)
    expected -= torch.nn.functional.one_hot(target[num_others:], 5)
    torch.testing.assert_close(logits.grad[num_others:], expected)


def scaled_llama():
    """One that multiplies its logits, as Cohere's do."""
    model = tiny_llama()
    model.lm_head.register_forward_hook(lambda module, args, output: output * 0.5)
    return model


def bounded_llama():
    """One whose logits autograd needs as they are for its backward pass."""
    model = tiny_llama()
    model.lm_head.register_forward_hook(lambda module, args, output: output.tanh())
    return model


@pytest.mark.parametrize("make_model", [tiny_llama, scaled_llama, bounded_llama])
def test_gradients_are_the_same_where_the_loss_is_the_last_to_look_at_logits(make_model):
    model, batch = make_model(), make_batch([6, 3])
    gradients = []
    for is_last_look in (False, True):
        sample_losses(model, batch, is_last_look=is_last_look).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        model.zero_grad()
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_logits_stay_as_they_are_unless_the_loss_is_the_last_to_look():
    model, batch = tiny_llama(), make_batch([6, 6])
    seen = []
    model.lm_head.register_forward_hook(lambda module, args, output: seen.append(output))
    before = []
    for is_last_look in (False, True):
        losses = sample_losses(model, batch, is_last_look=is_last_look)
        before.append(seen[-1].detach().clone())
        losses.sum().backward()
    assert torch.equal(seen[0], before[0])
    assert not torch.equal(seen[1], before[1])  # no tensor of their size beside them


def test_running_backward_twice_through_overwritten_logits_is_an_error():
    model, batch = tiny_llama(), make_batch([6, 6])
    loss = sample_losses(model, batch, is_last_look=True).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_loss_that_is_not_the_last_look_runs_backward_twice_in_any_precision():
    model, batch = tiny_llama(double=False), make_batch([6, 6])
    for is_cast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_cast):
            loss = sample_losses(model, batch).sum()
        loss.backward(retain_graph=True)
        once = [parameter.grad.clone() for parameter in model.parameters()]
        model.zero_grad()
        loss.backward()
        assert all(map(torch.equal, once, (p.grad for p in model.parameters())))
        model.zero_grad()
