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


def test_token_nll_and_its_gradient_equal_cross_entropy(monkeypatch):
    monkeypatch.setattr("dids.gradients.token_nll.CHUNK_ENTRIES", 30)  # several chunks
    logits = (3 * torch.randn(11, 13, dtype=torch.float64)).requires_grad_()
    target = torch.randint(0, 13, (11,))
    target[[2, 10]] = -100
    weight = torch.randn(11, dtype=torch.float64)
    fast = token_nll(logits, target)
    slow = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-14)
    (fast_gradient,) = torch.autograd.grad((weight * fast).sum(), logits)
    (slow_gradient,) = torch.autograd.grad((weight * slow).sum(), logits)
    torch.testing.assert_close(fast_gradient, slow_gradient, rtol=1e-12, atol=1e-14)
