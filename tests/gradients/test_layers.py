import gc
import weakref

import pytest
import torch
from tiny_models import (
    checkpoint_activations,
    make_batch,
    slow_gradients,
    tiny_gpt2,
    tiny_llama,
)
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from dids.errors import InputError
from dids.gradients import (
    Coordinates,
    Projection,
    covered_parameters,
    gradient_statistics,
    layer_gradients,
    sample_features,
    sample_losses,
)
from dids.gradients.norms import weight_gradient


def state_of(model):
    return {
        "hooks": [
            (
                len(m._forward_hooks),
                len(m._forward_pre_hooks),
                len(m._backward_hooks),
                len(m._forward_hooks_with_kwargs),
            )
            for m in model.modules()
        ],
        "training": [m.training for m in model.modules()],
        "asking": [p.requires_grad for p in model.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "values": [p.detach().clone() for p in model.parameters()],
        "identities": [(name, id(p)) for name, p in model.named_parameters()],
        "random": torch.get_rng_state(),
    }


def assert_same_state(model, before):
    after = state_of(model)
    for name in ("hooks", "training", "asking", "identities"):
        assert after[name] == before[name], name
    assert torch.equal(after["random"], before["random"])
    for one, other in zip(before["grads"], after["grads"], strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    for one, other in zip(before["values"], after["values"], strict=True):
        assert torch.equal(one, other)


@pytest.fixture(params=["llama", "gpt2"])
def model(request):
    model = tiny_llama() if request.param == "llama" else tiny_gpt2()
    model.train()
    next(iter(model.children())).eval()  # a mode that is not uniform
    sample_losses(model, make_batch([5, 5])).sum().backward()  # a .grad that must survive
    list(model.parameters())[2].requires_grad_(False)
    return model


def test_everything_covered_leaves_the_model_as_it_was(model):
    before = state_of(model)
    batch = make_batch([6, 4])
    sample_features(model, batch, Projection(16))
    gradient_statistics(model, [batch], Coordinates.of(model), with_squares=True, labels="model")
    assert_same_state(model, before)


@pytest.mark.parametrize("moment", ["forward", "backward", "between"])
def test_nothing_is_left_behind_on_exception(model, moment):
    before = state_of(model)
    batch = make_batch([6, 4])

    def receive(layer):
        if moment == "backward":
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, IndexError)), layer_gradients(model, receive):
        if moment == "forward":
            batch["input_ids"][0, 0] = 10_000
        loss = sample_losses(model, batch).sum()
        if moment == "between":
            raise KeyboardInterrupt
        loss.backward()
    assert_same_state(model, before)


def test_a_graph_that_outlives_the_hooks_calls_nobody():
    model, calls = tiny_llama(), []
    with layer_gradients(model, calls.append, weight_gradients=True):
        loss = sample_losses(model, make_batch([5])).sum()
    loss.backward()
    assert calls == []


@pytest.mark.filterwarnings("ignore:.*autograd kernel was not registered")
def test_a_layer_without_a_backward_pass_is_not_passed_over_in_silence():
    # As bitsandbytes' product for inference: autograd warns, and the layers before get nothing.
    def in_full(x):
        with torch._C._AutoDispatchBelowAutograd():
            return 2 * x

    library = torch.library.Library("dids_test", "DEF")
    library.define("inference_alone(Tensor x) -> Tensor")
    library.impl("inference_alone", in_full, "CPU")
    model = tiny_llama()
    model.model.norm.register_forward_pre_hook(
        lambda _, args: torch.ops.dids_test.inference_alone(args[0])
    )
    with pytest.raises(InputError, match="gradients end before its first layers"):
        sample_features(model, make_batch([5, 7]), Projection(64))


def test_weight_gradients_are_the_usual_ones_when_asked_for():
    model, batch = tiny_llama(), make_batch([5, 7])
    sample_losses(model, batch).sum().backward()
    usual = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    with layer_gradients(model, lambda layer: None, weight_gradients=True):
        sample_losses(model, batch).sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, usual[name]), name


def test_every_parameter_of_llama_and_gpt2_is_covered_once():
    for model in (tiny_llama(tied=True), tiny_llama(tied=False, bias=True), tiny_gpt2()):
        assert list(covered_parameters(model)) == [name for name, _ in model.named_parameters()]


def test_both_uses_of_a_tied_embedding_carry_one_name():
    model, uses = tiny_llama(tied=True), []
    with layer_gradients(model, uses.append):
        sample_losses(model, make_batch([5])).sum().backward()
    tied = [layer for layer in uses if layer.name == "model.embed_tokens.weight"]
    assert [type(layer).__name__ for layer in tied] == ["OuterGradient", "RowGradient"]
    assert {layer.num_uses for layer in tied} == {2}


def test_frozen_parameters_are_not_covered():
    model = tiny_llama()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("mlp" in name)
    assert all("mlp" in name for name in covered_parameters(model))
    model.requires_grad_(False)
    with pytest.raises(InputError, match="no trainable"):
        covered_parameters(model)


def test_linear_layers_with_math_of_their_own_are_not_covered():
    class FalconLinear(torch.nn.Linear):  # not Transformers'
        def forward(self, inputs):
            return 2.0 * super().forward(inputs)

    model = tiny_llama()
    model.model.layers[0].mlp.up_proj = FalconLinear(16, 24, bias=False)
    left_out = {name for name, _ in model.named_parameters()} - set(covered_parameters(model))
    assert left_out == {"model.layers.0.mlp.up_proj.weight"}


class ChangesItsActivations(torch.nn.Module):
    """Works in place on what its layers return, as some models do."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(5, 4)
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

    def forward(self, input_ids):
        table = self.table(input_ids)
        hidden = self.first(table)
        hidden += table
        hidden.mul_(3.0)
        output = self.second(hidden)
        output[:, 0] = 0.0
        return output


@pytest.mark.parametrize("weight_gradients", [True, False])
def test_layers_whose_output_is_changed_in_place_are_followed(weight_gradients):
    # A layer with a bias returns a view; changed in place, it left its hook behind without a word.
    torch.manual_seed(0)
    model, input_ids = ChangesItsActivations().double(), torch.tensor([[1, 2, 3]])
    model(input_ids).square().sum().backward()
    usual = {name: p.grad.clone() for name, p in model.named_parameters()}
    found = {name: torch.zeros_like(p) for name, p in model.named_parameters()}

    def receive(layer):
        layer.add_samples_(found[layer.name], 0, 1)

    with layer_gradients(model, receive, weight_gradients=weight_gradients):
        model(input_ids).square().sum().backward()
    torch.testing.assert_close(found, usual)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_what_checkpointing_forgets_is_forgotten(use_reentrant):
    model = tiny_llama().train()
    checkpoint_activations(model, use_reentrant)
    inputs, uses = [], []
    handles = [
        module.register_forward_pre_hook(lambda module, args: inputs.append(weakref.ref(args[0])))
        for module in model.model.layers.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    with layer_gradients(model, uses.append, weight_gradients=True):
        loss = sample_losses(model, make_batch([5, 4])).sum()
        gc.collect()
        assert len(inputs) == 14
        assert sum(ref() is not None for ref in inputs) == 0
        loss.backward()
    for handle in handles:
        handle.remove()
    names = [layer.name for layer in uses]
    assert sorted(set(names)) == sorted(covered_parameters(model))
    assert {layer.name: layer.num_uses for layer in uses} == {
        name: names.count(name) for name in names
    }


@pytest.mark.parametrize("kind", ["llama", "gemma", "layer"])
def test_a_norms_gradient_is_autograds(kind):
    norm = {
        "llama": lambda: LlamaRMSNorm(6, eps=1e-3),
        "gemma": lambda: Gemma2RMSNorm(6, eps=1e-3),
        "layer": lambda: torch.nn.LayerNorm(6, eps=1e-3),
    }[kind]()
    torch.nn.init.normal_(norm.weight)
    inputs, gradient = torch.randn(3, 5, 6), torch.randn(3, 5, 6)
    found = weight_gradient(norm, inputs, gradient)
    for row in range(3):
        expected = torch.autograd.grad((norm(inputs[row]) * gradient[row]).sum(), norm.weight)[0]
        torch.testing.assert_close(found[row], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_patterns_choose_parameters_and_whole_modules(tied):
    model = tiny_llama(tied=tied, bias=True)
    everything = list(covered_parameters(model))

    def chosen(*patterns):
        return list(covered_parameters(model, patterns))

    assert chosen("*") == everything
    assert chosen("model.layers.1") == [n for n in everything if n.startswith("model.layers.1.")]
    assert chosen("*mlp", "*q_proj.bias") == [
        n for n in everything if ".mlp." in n or n.endswith("q_proj.bias")
    ]
    # A tied head goes by its own name too.
    head = "model.embed_tokens.weight" if tied else "lm_head.weight"
    assert chosen("lm_head") == [head]


def test_a_pattern_that_fits_nothing_names_the_nearest():
    with pytest.raises(InputError, match=r"features\.layers.*'model.layer.0'.*'model.layers.0'"):
        covered_parameters(tiny_llama(), ["*", "model.layer.0"])


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_chosen_layers_alone_are_read_and_nothing_before_them_is_run_backward(make):
    model, projection, batch = make(), Projection(32), make_batch([5, 3])
    patterns = ["*mlp*"] if make is tiny_gpt2 else ["model.layers.1.mlp", "model.norm"]
    features = sample_features(model, batch, projection, layers=patterns)
    chosen = covered_parameters(model, patterns)
    for row, gradients in enumerate(slow_gradients(model, batch)):
        expected = sum(projection.project(name, gradients[name]) for name in chosen)
        torch.testing.assert_close(features[row], expected)

    seen = []
    first = model.model.layers[0].mlp if make is tiny_llama else model.transformer.wte
    handle = first.register_forward_hook(
        lambda module, args, output: seen.append(output.requires_grad)
    )
    sample_features(model, batch, projection, layers=patterns)
    handle.remove()
    assert seen == [False]
