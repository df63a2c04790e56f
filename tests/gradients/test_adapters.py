import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    checkpoint_activations,
    make_batch,
    scored,
    slow_gradients,
    tiny_llama,
    train_backward,
)

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
    model = peft.get_peft_model(tiny_llama(), settings).double()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first, which would hide half of the gradients
            torch.nn.init.normal_(parameter, 0.0, 0.3)
    return model


def slow_adapter_gradients(model, batch):
    frozen = [p for p in model.parameters() if not p.requires_grad]
    for parameter in frozen:  # autograd's reference differentiates by all of them
        parameter.requires_grad_(True)
    found = slow_gradients(model, batch)
    for parameter in frozen:
        parameter.requires_grad_(False)
    return [{n: row[n] for n in covered_parameters(model)} for row in found]


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
    batch, projection = make_batch(lengths), Projection(32, input_dim=8)
    assert all("lora_" in name for name in covered_parameters(model))
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


@pytest.mark.parametrize("use_reentrant", [None, True, False])
def test_adapters_in_training_give_the_same_by_the_way(use_reentrant):
    model = adapted_llama(dropout=0.0).train()
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
