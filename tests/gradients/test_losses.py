import torch
from tiny_models import make_batch, sample_of, slow_loss, tiny_llama

from dids.gradients import sample_losses


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
