import pytest
import torch
from tiny_models import tiny_llama
from transformers import AutoConfig, AutoModelForCausalLM

from dids.gradients import Coordinates
from dids.gradients.coordinates import TOKEN_COLUMNS


def test_all_entries_are_kept_in_order_when_there_is_no_limit():
    model = tiny_llama()
    coordinates = Coordinates.of(model)
    everything = torch.cat([p.detach().flatten() for p in model.parameters()]).float()
    assert coordinates.size == everything.numel()
    assert torch.equal(coordinates.gather(dict(model.named_parameters())), everything)
    assert (coordinates.weight_p == 1).all()


def test_a_subset_keeps_inner_products_on_average():
    model = tiny_llama()
    one = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    other = {name: one[name] + torch.randn_like(p) for name, p in model.named_parameters()}
    exact = sum(float((one[name] * other[name]).sum()) for name in one)
    estimates = []
    for seed in range(60):
        coordinates = Coordinates.of(model, max_coordinates=800, seed=seed)
        assert coordinates.size <= 800
        product = coordinates.weight_p * coordinates.gather(one) * coordinates.gather(other)
        estimates.append(float(product.sum()))
    estimates = torch.tensor(estimates)
    assert abs(estimates.mean() - exact) < 4 * estimates.std() / 60**0.5


def llama(vocab_size, *, tied=True):
    """A model of 37,056 parameters beside those of tokens."""
    config = AutoConfig.for_model(
        "llama", vocab_size=vocab_size, hidden_size=64, intermediate_size=128, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


def kept_columns(model, **settings):
    slots = Coordinates.of(model, **settings).slots
    return {name: slot.kept_shape[1] for name, slot in slots.items() if len(slot.shape) == 2}


@pytest.mark.parametrize("is_tied", [True, False])
def test_half_of_all_entries_are_of_tokens(is_tied):
    model = llama(100, tied=is_tied)
    kept = kept_columns(model, max_coordinates=10_000)
    matrices = dict(model.named_parameters())
    of_tokens = {name for name in kept if "embed_tokens" in name or "lm_head" in name}
    assert len(of_tokens) == 2 - is_tied
    size = {name: columns * matrices[name].shape[0] for name, columns in kept.items()}
    token_part = sum(size[name] for name in of_tokens)
    assert 4_500 < token_part <= 5_000
    assert 4_000 < sum(size.values()) - token_part <= 5_000


def test_of_a_large_vocabulary_eight_columns_are_kept_but_no_more_than_a_gigabyte_has_room_for():
    model = llama(5_000)
    name = "model.embed_tokens.weight"
    assert kept_columns(model, max_coordinates=1_000)[name] == TOKEN_COLUMNS
    assert kept_columns(model, max_coordinates=1_000, held_bytes=72_000)[name] == 2  # 720 MB
    assert kept_columns(model, max_coordinates=1_000, held_bytes=8_000_000)[name] == 1


def test_where_no_tokens_are_trained_other_matrices_have_all():
    model = llama(100)
    model.get_input_embeddings().weight.requires_grad_(False)
    coordinates = Coordinates.of(model, max_coordinates=10_000)
    assert 8_000 < coordinates.size <= 10_000
    # And where others have less than half, tokens have the rest.
    model = llama(10_000)
    kept = kept_columns(model, max_coordinates=37_056 + 400_000)
    assert kept.pop("model.embed_tokens.weight") == 40
    assert all(columns in (64, 128) for columns in kept.values())


def test_a_subset_is_a_function_of_the_seed():
    model = tiny_llama()
    tensors = dict(model.named_parameters())
    first = Coordinates.of(model, max_coordinates=500, seed=1).gather(tensors)
    assert torch.equal(first, Coordinates.of(model, max_coordinates=500, seed=1).gather(tensors))
    second = Coordinates.of(model, max_coordinates=500, seed=2).gather(tensors)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("max_coordinates", [None, 500])
def test_a_vector_of_coordinates_is_seen_in_the_kept_shapes(max_coordinates):
    model = tiny_llama()
    tensors = dict(model.named_parameters())
    coordinates = Coordinates.of(model, max_coordinates=max_coordinates)
    entry_2p = torch.stack([coordinates.gather(tensors)] * 2)
    for name, slot in coordinates.slots.items():
        kept = tensors[name].detach().float()
        kept = kept if slot.columns is None else kept[:, slot.columns]
        seen = slot.shaped(entry_2p[:, slot.start : slot.stop])
        assert torch.equal(seen, torch.stack([kept] * 2))
        assert seen.shape[1:] == slot.kept_shape


def test_wrong_tensors_are_named():
    model = tiny_llama()
    coordinates = Coordinates.of(model)
    tensors = dict(model.named_parameters())
    name = coordinates.names[1]
    with pytest.raises(ValueError, match=name):
        coordinates.gather({k: v for k, v in tensors.items() if k != name})
    with pytest.raises(ValueError, match="must be"):
        coordinates.gather({**tensors, name: torch.zeros(3)})
    with pytest.raises(ValueError, match="max_coordinates"):
        Coordinates.of(model, max_coordinates=0)
