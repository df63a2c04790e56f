import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    make_batch,
    sample_of,
    slow_gradients,
    tiny_falcon,
    tiny_gpt2,
    tiny_llama,
    tiny_mamba,
)

from dids.gradients import (
    Projection,
    covered_parameters,
    layer_gradients,
    sample_features,
    sample_losses,
)
from dids.gradients.random_signs import philox, random_signs


class Wrapped(torch.nn.Module):
    """As DDP and ``torch.compile`` have a model in them."""

    def __init__(self, model, name):
        super().__init__()
        setattr(self, name, model)
        self.inside = name

    def forward(self, *args, **kwargs):
        return getattr(self, self.inside)(*args, **kwargs)


def test_a_compiled_or_wrapped_model_has_the_same_features():
    model, batch, projection = tiny_llama(), make_batch([9, 4, 6]), Projection(64)
    expected = sample_features(model, batch, projection)
    compiled = Wrapped(model, "_orig_mod")
    for other in (compiled, Wrapped(model, "module"), Wrapped(compiled, "module")):
        features = sample_features(other, batch, projection)
        torch.testing.assert_close(features, expected, rtol=1e-9, atol=1e-12)


def projected_slowly(projection, gradients):
    """Π as an explicit matrix, entry by entry in float64, applied to whole gradients."""
    width = projection.sketch_dim
    sketch = torch.zeros(width, dtype=torch.float64)
    for name, gradient in gradients.items():
        if gradient.dim() == 3:  # experts' matrices, one below the other
            gradient = gradient.flatten(0, 1)
        if gradient.dim() == 2 and projection.kind == "one-sided":
            gradient = gradient @ projection.input_matrix(name, gradient.shape[1]).double()
            gradient = gradient.T
        rows = gradient.reshape(-1, gradient.shape[-1])
        signs = projection.signs(name, rows.numel()).view_as(rows).tolist()
        bucket = projection.offset(name)
        for row, sign in zip(rows.tolist(), signs, strict=True):
            for column in range(len(row)):
                sketch[(bucket + column) % width] += sign[column] * row[column]
            bucket += projection.pitch(len(row))
    return sketch if projection.leading is None else folded_slowly(projection, sketch)


def folded_slowly(projection, sketch):
    leading, width = projection.leading.double(), projection.sketch_dim
    along = leading.T @ sketch
    rest = sketch - leading @ along
    order = np.argsort(philox(projection.seed, "sketch/order").random_raw(width), kind="stable")
    signs = random_signs(projection.seed, "sketch/sign", width).tolist()
    folded = torch.zeros(projection.dim - len(along), dtype=torch.float64)
    for place, (bucket, sign) in enumerate(zip(order, signs, strict=True)):
        folded[place % len(folded)] += sign * rest[bucket]
    return torch.cat([along, folded])


def assert_features_are_projected_gradients(model, batch, projection, *, rtol=1e-9, atol=1e-11):
    features = sample_features(model, batch, projection)
    covered = covered_parameters(model)
    for row, gradients in enumerate(slow_gradients(model, batch)):
        expected = projected_slowly(projection, {name: gradients[name] for name in covered})
        torch.testing.assert_close(features[row], expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("kind", ["one-sided", "exact"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("tied", [True, False])
def test_features_equal_projected_gradients_of_each_sample_alone(kind, attention, tied):
    model = tiny_llama(tied=tied, attention=attention, bias=True)
    batch = make_batch([9, 2, 5, 12], prompt=2)
    batch["input_ids"][0, :4] = 7  # repeated tokens
    projection = Projection(37, kind=kind, input_dim=5, seed=3)
    # Eager attention takes its softmax in float32 whatever the model's precision.
    close = {"rtol": 1e-4, "atol": 1e-6} if attention == "eager" else {}
    assert_features_are_projected_gradients(model, batch, projection, **close)


@pytest.mark.parametrize("kind", ["one-sided", "exact"])
def test_features_of_a_model_with_position_tables_and_layer_norms(kind):
    # A position table is looked up once for all samples: its gradients must still be apart.
    projection = Projection(32, kind=kind, input_dim=8)
    assert_features_are_projected_gradients(tiny_gpt2(), make_batch([6, 3]), projection)


@pytest.mark.parametrize("kind", ["one-sided", "exact"])
@pytest.mark.parametrize("bias", [True, False])
def test_features_of_falcon_whose_linear_layers_are_its_own(kind, bias):
    model = tiny_falcon(bias=bias)
    assert list(covered_parameters(model)) == [name for name, _ in model.named_parameters()]
    projection = Projection(32, kind=kind, input_dim=8)
    assert_features_are_projected_gradients(model, make_batch([6, 3, 9]), projection)


@pytest.mark.parametrize("kind", ["mamba", "falcon_mamba"])
def test_of_mamba_all_but_what_its_mixer_multiplies_by_itself_is_right(kind):
    model = tiny_mamba(kind)
    covered = covered_parameters(model)
    left_out = {name.split(".")[-2] for name, _ in model.named_parameters() if name not in covered}
    assert left_out == {"mixer", "conv1d", "dt_proj"}
    projection = Projection(32, input_dim=8)
    assert_features_are_projected_gradients(model, make_batch([6, 3, 9]), projection, rtol=1e-4)


@settings(max_examples=12)
@given(
    lengths=st.lists(st.integers(1, 10), min_size=1, max_size=4),
    prompt=st.integers(0, 3),
    dim=st.integers(1, 70),
    input_dim=st.integers(1, 20),
    tied=st.booleans(),
    vocab=st.integers(1, 23),  # tokens repeat
    kind=st.sampled_from(["one-sided", "exact"]),
    key_heads=st.sampled_from([1, 2, 4]),
)
def test_features_are_right_for_any_shape(
    lengths, prompt, dim, input_dim, tied, vocab, kind, key_heads
):
    batch = make_batch(lengths, prompt=prompt, vocab=vocab)
    projection = Projection(dim, kind=kind, input_dim=input_dim)
    model = tiny_llama(tied=tied, key_heads=key_heads)
    assert_features_are_projected_gradients(model, batch, projection)


def test_padding_and_its_tokens_change_nothing():
    model, projection = tiny_llama(), Projection(16)
    batch = make_batch([3, 7])
    wider = make_batch([3, 7], pad_to=12)
    for row, length in enumerate([3, 7]):
        wider["input_ids"][row, :length] = batch["input_ids"][row, :length]
        wider["labels"][row, :length] = batch["labels"][row, :length]
    torch.testing.assert_close(
        sample_features(model, wider, projection), sample_features(model, batch, projection)
    )


def test_a_sample_has_the_same_feature_in_any_company():
    model, projection = tiny_llama(double=False), Projection(64)
    batch = make_batch([9, 4, 11])
    together = sample_features(model, batch, projection)
    for row in range(3):
        alone = sample_features(model, sample_of(batch, row), projection)
        torch.testing.assert_close(together[row], alone[0], rtol=1e-4, atol=1e-6)


def test_nothing_scored_means_a_zero_feature():
    batch = make_batch([4, 6])
    batch["labels"][0] = -100
    features = sample_features(tiny_llama(), batch, Projection(16))
    assert (features[0] == 0).all()
    assert (features[1] != 0).any()


def test_scored_prompt_would_be_another_feature():
    # The released code scored prompts: their loss is not the completion's.
    model, projection = tiny_llama(), Projection(16)
    scored = sample_features(model, make_batch([8], prompt=0), projection)
    unscored = sample_features(model, make_batch([8], prompt=5), projection)
    assert not torch.allclose(scored, unscored, rtol=0.05)


def test_features_under_bfloat16_autocast_are_summed_in_float32():
    model, projection, batch = tiny_llama(double=False), Projection(64), make_batch([10, 10, 30])
    plain = sample_features(model, batch, projection)
    with torch.autocast("cpu", torch.bfloat16):
        short = sample_features(model, batch, projection)
    assert short.dtype == torch.float32
    assert torch.cosine_similarity(plain, short).min() > 0.999

    seen, found = [], torch.zeros_like(short)

    def receive(layer):
        seen.append(torch.is_autocast_enabled("cpu"))
        projection.add_(found, layer)

    with layer_gradients(model.eval(), receive):
        with torch.autocast("cpu", torch.bfloat16):
            loss = sample_losses(model, batch).sum()
        loss.backward()
    # Sums in bfloat16 would be off by 2⁻⁸; inside or outside of autocast they are the same.
    torch.testing.assert_close(found, short, rtol=1e-4, atol=1e-5 * float(short.abs().max()))
    assert not any(seen)


@pytest.mark.parametrize("make", [tiny_gpt2, lambda **_: tiny_llama()])
def test_a_short_model_has_the_features_of_its_own_gradients(make):
    # A LayerNorm in bfloat16 has a bias, and a root-mean-square norm none.
    model, batch = make().bfloat16(), make_batch([6, 3])
    projection = Projection(512, input_dim=8)
    found = sample_features(model, batch, projection)
    for row, gradients in enumerate(slow_gradients(model, batch)):
        expected = sum(projection.project(name, g.float()) for name, g in gradients.items())
        assert (found[row] - expected).norm() < 0.03 * expected.norm()
