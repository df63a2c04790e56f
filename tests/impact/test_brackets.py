"""Lie brackets against Hessians taken entry by entry, and against steps in either order."""

import copy

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from dids.gradients.losses import sample_losses
from dids.impact.brackets import brackets
from dids.mixture.policies.commute import precedence

VOCAB = 23


def tiny_gpt2():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=1, n_head=2, n_positions=32, attn_pdrop=0.5)
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    return model.double()


def tiny_llama(attention="sdpa"):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        initializer_range=0.2,
        attn_implementation=attention,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).double()


def make_batch(lengths, prompt=1, seed=0):
    """Padded on the right; prompts and padding are not scored."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(0, VOCAB, (len(lengths), max(lengths)), generator=generator)
    place = torch.arange(max(lengths))
    is_there = place < torch.tensor(lengths)[:, None]
    labels = torch.where(is_there & (place >= prompt), input_ids, -100)
    return {"input_ids": input_ids, "labels": labels, "attention_mask": is_there.long()}


def batches():
    domains = [make_batch([7, 5, 6], seed=seed) for seed in range(3)]
    tasks = [make_batch([6, 4], prompt=2, seed=seed) for seed in (7, 8)]
    return domains, tasks


def loss_of(model, batch):
    with torch.enable_grad():
        return sample_losses(model, batch).mean()


def gradient(model, batch):
    found = torch.autograd.grad(loss_of(model, batch), list(model.parameters()))
    return torch.cat([part.flatten() for part in found])


def moved(model, step):
    """A copy with its parameters moved."""
    other, start = copy.deepcopy(model), 0
    with torch.no_grad():
        for parameter in other.parameters():
            part = step[start : start + parameter.numel()]
            parameter.add_(part.view(parameter.shape))
            start += parameter.numel()
    return other


def mean_task_loss(model, tasks, weights=(1.0, 1.0)):
    losses = [loss_of(model, task).item() for task in tasks]
    return np.average(losses, weights=weights)


@pytest.mark.parametrize("weights", [None, (3.0, 1.0)])
@pytest.mark.parametrize(
    # Llama's norms compute in float32 whatever the model is.
    ("make", "size", "tolerance"),
    [(tiny_gpt2, 1e-5, 1e-6), (tiny_llama, 1e-3, 2e-3)],
)
def test_brackets_equal_finite_differences_of_gradients(make, size, tolerance, weights):
    model, (domains, tasks) = make().eval(), batches()
    found_kk = brackets(model, domains, tasks, None if weights is None else np.array(weights))
    g_k = [gradient(model, batch) for batch in domains]
    h_t = [gradient(model, batch) for batch in tasks]
    first, second = weights or (1.0, 1.0)
    h = (first * h_t[0] + second * h_t[1]) / (first + second)

    def times(i, vector):
        ahead = gradient(moved(model, size * vector), domains[i])
        behind = gradient(moved(model, -size * vector), domains[i])
        return (ahead - behind) / (2 * size)

    expected_kk = [
        [float(h @ (times(i, g_k[j]) - times(j, g_k[i]))) / 2 for j in range(3)] for i in range(3)
    ]
    np.testing.assert_allclose(found_kk, expected_kk, atol=tolerance * np.abs(found_kk).max())
    np.testing.assert_array_equal(found_kk, -found_kk.T)


def test_brackets_are_half_of_what_one_order_lowers_the_loss_beyond_the_other():
    model, (domains, tasks) = tiny_gpt2().eval(), batches()
    found_kk = brackets(model, domains, tasks)

    def loss_after(order, rate):
        current = model
        for domain in order:
            current = moved(current, -rate * gradient(current, domains[domain]))
        return mean_task_loss(current, tasks)

    for i, j in ((0, 1), (0, 2), (1, 2)):
        # Of third order is what is left, so half the rate must leave half of it.
        left = []
        for rate in (2e-4, 1e-4):
            gained = (loss_after((j, i), rate) - loss_after((i, j), rate)) / (2 * rate**2)
            left.append(abs(gained - found_kk[i, j]))
        assert left[1] < 0.02 * abs(found_kk).max()
        assert left[1] < 0.6 * left[0] + 1e-6


def test_a_round_in_the_order_of_the_brackets_ends_lower_than_in_the_reverse():
    # By how much, to second order: 2 η² Σ_(a<b) p(a) · brackets p(b) over the steps a and b.
    model, (domains, tasks) = tiny_gpt2().eval(), batches()
    found_kk = brackets(model, domains, tasks)
    prior_k, rate, num_steps = np.array([0.5, 0.2, 0.3]), 2e-5, 10
    place_s = (2 * np.arange(num_steps) + 1) / num_steps - 1
    shares_sk = prior_k * (1 - place_s[:, None] * precedence(found_kk, prior_k))

    def loss_after(shares):
        current = model
        for share_k in shares:
            step = sum(p * gradient(current, d) for p, d in zip(share_k, domains, strict=True))
            current = moved(current, -rate * step)
        return mean_task_loss(current, tasks)

    gained = loss_after(shares_sk[::-1]) - loss_after(shares_sk)
    order_ss = shares_sk @ found_kk @ shares_sk.T
    expected = 2 * rate**2 * np.triu(order_ss, 1).sum()
    assert expected > 0
    assert gained == pytest.approx(expected, rel=0.05)


def test_domains_of_the_same_samples_commute():
    model, (domains, tasks) = tiny_llama().eval(), batches()
    found_kk = brackets(model, [domains[0], domains[1], domains[0]], tasks)
    assert found_kk[0, 2] == pytest.approx(0.0, abs=1e-12)
    assert found_kk[1, 0] == pytest.approx(found_kk[1, 2], abs=1e-12)


def test_other_kernels_of_attention_and_float32_give_the_same_brackets():
    domains, tasks = batches()
    exact_kk = brackets(tiny_llama(attention="eager"), domains, tasks)
    np.testing.assert_allclose(
        brackets(tiny_llama(attention="sdpa"), domains, tasks), exact_kk, rtol=1e-4, atol=1e-6
    )
    single_kk = brackets(tiny_llama().float(), domains, tasks)
    assert np.abs(single_kk - exact_kk).max() < 1e-3 * np.abs(exact_kk).max()


def test_the_model_comes_back_as_it_was():
    model, (domains, tasks) = tiny_gpt2(), batches()
    model.train()
    frozen = next(model.parameters()).requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    brackets(model, domains, tasks)
    assert model.training
    assert all(module.training for module in model.modules())
    assert not frozen.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_domain_with_nothing_scored_has_no_place_in_the_order():
    domains, tasks = batches()
    silent = {**domains[1], "labels": torch.full_like(domains[1]["labels"], -100)}
    found_kk = brackets(tiny_llama(), [domains[0], silent, domains[2]], tasks)
    np.testing.assert_array_equal(found_kk[1], 0.0)
    assert np.isfinite(found_kk).all()
    assert found_kk[0, 2] != 0.0
