from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    checkpoint_activations,
    make_batch,
    scored,
    slow_gradients,
    tiny_experts,
    tiny_llama,
    train_backward,
)

from dids.errors import InputError
from dids.gradients import (
    Coordinates,
    GroupedGradients,
    LiveFeatures,
    Projection,
    covered_parameters,
    gradient_statistics,
    layer_gradients,
    sample_features,
    sample_losses,
)

peft = pytest.importorskip("peft")
# It asks transformers in the old way, and warns of a tied head, which is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Model has `tie_word")
# Norms of transformers compute in float32 inside, whose rounding depends on the loss's scale.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def adapted_llama(targets=("q_proj", "down_proj"), rank=3, dropout=0.5):
    settings = peft.LoraConfig(
        r=rank, lora_alpha=7, lora_dropout=dropout, target_modules=list(targets)
    )
    return adapted(tiny_llama(), settings)


def adapted(model, settings):
    model = peft.get_peft_model(model, settings).double()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first, which would hide half of the gradients
            torch.nn.init.normal_(parameter, 0.0, 0.3)
    return model


def adapted_experts(kind="mixtral", parameters=("gate_up_proj", "down_proj"), layers=()):
    settings = peft.LoraConfig(
        r=3,
        lora_alpha=7,
        target_modules=list(layers),
        target_parameters=[f"experts.{name}" for name in parameters],
    )
    return adapted(tiny_experts(kind), settings)


def slow_adapter_gradients(model, batch):
    frozen = [p for p in model.parameters() if not p.requires_grad]
    for parameter in frozen:  # autograd's reference differentiates by all of them
        parameter.requires_grad_(True)
    found = slow_gradients(model, batch)
    for parameter in frozen:
        parameter.requires_grad_(False)
    return [{n: row[n] for n in covered_parameters(model)} for row in found]


def assert_features_and_fisher_are_a_loops(model, batch):
    projection = Projection(32, input_dim=8)
    rows = slow_adapter_gradients(model, batch)
    features = sample_features(model, batch, projection)
    coordinates = Coordinates.of(model)
    for feature, gradients in zip(features, rows, strict=True):
        expected = sum(projection.project(name, g) for name, g in gradients.items())
        torch.testing.assert_close(feature, expected, **CLOSE)
    gradient_np = torch.stack(
        [torch.cat([row[name].flatten() for name in coordinates.names]) for row in rows]
    )
    statistics = gradient_statistics(model, [batch], coordinates, with_squares=True)
    torch.testing.assert_close(statistics.mean_p, gradient_np.mean(0), **CLOSE)
    torch.testing.assert_close(statistics.square_p, gradient_np.square().mean(0), **CLOSE)


@settings(max_examples=6)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    rank=st.integers(1, 5),
    targets=st.lists(
        st.sampled_from(["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj", "lm_head"]),
        min_size=1,
        max_size=3,
        unique=True,
    ),
)
def test_features_and_fisher_of_adapters_equal_a_loop_over_samples(lengths, rank, targets):
    model = adapted_llama(targets, rank)
    assert all("lora_" in name for name in covered_parameters(model))
    assert_features_and_fisher_are_a_loops(model, make_batch(lengths))


@pytest.mark.parametrize(
    ("kind", "parameters", "layers"),
    [
        ("mixtral", ["gate_up_proj", "down_proj"], []),
        ("gpt_oss", ["gate_up_proj", "down_proj"], ["q_proj"]),  # turned matrices, biases
        ("nemotron_h", ["up_proj"], []),  # no gate
    ],
)
def test_features_and_fisher_of_experts_adapters_equal_a_loop_over_samples(
    kind, parameters, layers
):
    model = adapted_experts(kind, parameters, layers)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(covered_parameters(model)) == trainable
    assert_features_and_fisher_are_a_loops(model, make_batch([9, 2, 5, 12]))


def test_experts_and_adapters_of_them_that_both_train_see_each_other():
    model = adapted_experts("mixtral", ["down_proj"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("experts" in name)
    assert_features_and_fisher_are_a_loops(model, make_batch([9, 2, 5, 12]))


def test_adapters_that_are_merged_have_no_gradient():
    model = adapted_experts()
    model.merge_adapter()
    model.get_output_embeddings().weight.requires_grad_(True)
    seen = []
    with layer_gradients(model, lambda layer: seen.append(layer.name)):
        sample_losses(model, make_batch([5, 3])).sum().backward()
    assert seen == ["base_model.model.lm_head.weight"]


def test_what_is_added_to_a_parameter_that_is_no_experts_is_left_out():
    settings = peft.LoraConfig(r=3, target_modules=["v_proj"], target_parameters=["q_proj.weight"])
    model = adapted(tiny_llama(), settings)
    assert all("v_proj" in name for name in covered_parameters(model))
    with pytest.raises(InputError, match="no trainable linear"):
        settings = peft.LoraConfig(r=3, target_modules=[], target_parameters=["q_proj.weight"])
        covered_parameters(adapted(tiny_llama(), settings))


@pytest.mark.parametrize("make", [partial(adapted_llama, dropout=0.0), adapted_experts])
@pytest.mark.parametrize("use_reentrant", [None, True, False])
def test_adapters_in_training_give_the_same_by_the_way(make, use_reentrant):
    model = make().train()
    batch, projection = make_batch([9, 2, 5, 4]), Projection(32, input_dim=8)
    coordinates = Coordinates.of(model)
    rows = slow_adapter_gradients(model, batch)
    features = sample_features(model, batch, projection)
    if use_reentrant is not None:
        checkpoint_activations(model, use_reentrant)
    grouped = GroupedGradients(model, coordinates, num_groups=1)
    with grouped.collecting(torch.zeros(4, dtype=torch.int64), scored(batch), 0.1):
        train_backward(model, batch, 10.0)
    sums = sum(
        count * torch.cat([row[name].flatten() for name in coordinates.names])
        for count, row in zip(scored(batch).tolist(), rows, strict=True)
    )
    expected = sums / int(scored(batch).sum())
    torch.testing.assert_close(grouped.statistics()[0].mean_p, expected, **CLOSE)
    with LiveFeatures(model, projection).collecting(scored(batch), 0.1) as live:
        train_backward(model, batch, 10.0)
    torch.testing.assert_close(live, features, **CLOSE)


def test_frozen_layers_are_neither_read_nor_run_backward():
    model = adapted_llama(targets=("down_proj",)).eval()
    seen, asking = [], []
    handle = model.get_base_model().model.embed_tokens.register_forward_hook(
        lambda module, args, output: asking.append(output.requires_grad)
    )
    with layer_gradients(model, lambda layer: seen.append(layer.name)):
        sample_losses(model, make_batch([5, 3])).sum().backward()
    handle.remove()
    assert sorted(seen) == sorted(covered_parameters(model))
    assert asking == [False]  # gradients begin at the first adapter
