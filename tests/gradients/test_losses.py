import pytest
import torch
from tiny_models import make_batch, sample_of, slow_gradients, slow_loss, tiny_llama
from transformers import AutoConfig, AutoModelForCausalLM

from dids.errors import InputError
from dids.gradients import (
    Coordinates,
    Projection,
    covered_parameters,
    gradient_statistics,
    sample_features,
    sample_losses,
)
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


def padded_at_the_beginning(batch):
    shift_b = (batch["attention_mask"] == 0).sum(1).tolist()
    return {
        name: torch.stack([row_t.roll(n) for row_t, n in zip(rows, shift_b, strict=True)])
        for name, rows in batch.items()
    }


@pytest.mark.parametrize("prompt", [2, 11])  # whole sequences, or their ends alone
def test_padding_may_stand_at_the_beginning(prompt):
    model, batch = tiny_llama(), make_batch([14, 3, 12, 13], prompt=prompt)
    turned = padded_at_the_beginning(batch)
    turned["attention_mask"] = turned["attention_mask"].float()
    exact = Projection(256, kind="exact")
    for ask in (sample_losses, lambda m, b: sample_features(m, b, exact)):
        torch.testing.assert_close(ask(model, turned), ask(model, batch), rtol=1e-9, atol=1e-12)
    every = Coordinates.of(model)
    found, expected = (
        gradient_statistics(model, [each], every, with_squares=False, by_tokens=True)
        for each in (turned, batch)
    )
    torch.testing.assert_close(found.mean_p, expected.mean_p)


def test_a_first_token_is_not_predicted_from_padding():
    """Text, all of it scored, beside a long prompt: both end together, so the text is moved."""
    model, batch = tiny_llama(), make_batch([30, 9], prompt=0)
    batch["labels"][0, :16] = -100
    assert batch["labels"][1, 0] != -100
    losses = sample_losses(model, batch)
    for row in range(2):
        expected = slow_loss(model, sample_of(batch, row))
        torch.testing.assert_close(losses[row], expected, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("recurrent_gemma", {"lru_width": 16, "num_key_value_heads": 1}),
        ("roberta", {"is_decoder": True}),
        ("xlm-roberta", {"is_decoder": True}),
        ("camembert", {"is_decoder": True}),
        ("data2vec-text", {"is_decoder": True}),
        ("gpt2", {}),
        ("opt", {"ffn_dim": 24, "word_embed_proj_dim": 16}),
    ],
)
def test_gradients_are_those_of_samples_alone_wherever_padding_is(kind, settings):
    config = AutoConfig.for_model(
        kind, vocab_size=23, hidden_size=16, num_attention_heads=4, intermediate_size=24,
        num_hidden_layers=3, max_position_embeddings=40, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, **settings,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).double().eval()
    batch = make_batch([14, 12, 13], prompt=11)
    # A number that stands for padding has no position in some of them.
    batch["input_ids"] = torch.where(batch["attention_mask"] == 1, batch["input_ids"] % 20 + 3, 0)
    batch["labels"] = torch.where(batch["labels"] == -100, -100, batch["input_ids"])
    exact = Projection(256, kind="exact")
    features = sample_features(model, batch, exact)
    for row, gradients in enumerate(slow_gradients(model, batch)):
        expected = sum(exact.project(name, gradients[name]) for name in covered_parameters(model))
        torch.testing.assert_close(features[row], expected.to(features), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": torch.tensor([[1, -1, 2]])}, "or -100 where nothing is scored, but one is -1"),
        ({"labels": torch.tensor([[1, 2]])}, r"but they are \(1, 2\) and input_ids \(1, 3\)"),
        ({"labels": None}, "a batch must have labels, but it has input_ids"),
    ],
)
def test_labels_that_are_none_are_refused(changes, message):
    batch = {"input_ids": torch.tensor([[1, 2, 3]]), **changes}
    with pytest.raises(InputError, match=message):
        sample_losses(tiny_llama(), {name: t for name, t in batch.items() if t is not None})
