"""Models come from a config or a folder, fit the tokenizer, and run nobody else's code."""

import pytest
import torch

from dids.config.schema import ModelConfig
from dids.errors import InputError
from dids.training.models import build_model, check_architecture

TINY = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    config = ModelConfig(config=TINY)
    state = torch.get_rng_state()
    first, same, other = (
        build_model(config, vocab_size=64, seed=seed).lm_head.weight for seed in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_model_saved_in_a_folder_is_loaded_by_its_path(tmp_path):
    model = build_model(ModelConfig(config=TINY), vocab_size=64, seed=0)
    model.save_pretrained(tmp_path)
    loaded = build_model(ModelConfig(name=str(tmp_path)), vocab_size=64, seed=1)
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


def test_pickled_weights_are_never_loaded(tmp_path):
    model = build_model(ModelConfig(config=TINY), vocab_size=64, seed=0)
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        build_model(ModelConfig(name=str(tmp_path)), vocab_size=64, seed=0)


@pytest.mark.parametrize("vocab_size", [65, 1000])
def test_model_with_fewer_embeddings_than_token_ids_is_refused(tmp_path, vocab_size):
    build_model(ModelConfig(config=TINY), vocab_size=64, seed=0).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"64 entries, but the tokenizer has {vocab_size}"):
        build_model(ModelConfig(name=str(tmp_path)), vocab_size=vocab_size, seed=0)
    with pytest.raises(InputError, match=r"model.config.vocab_size is 64"):
        build_model(ModelConfig(config={**TINY, "vocab_size": 64}), vocab_size=vocab_size, seed=0)


def test_unknown_model_type_and_setting_are_named():
    with pytest.raises(InputError, match="no model type 'lama'"):
        build_model(ModelConfig(config={"model_type": "lama"}), vocab_size=64, seed=0)
    with pytest.raises(InputError, match="hiden_size: a llama config has no such setting"):
        build_model(ModelConfig(config={**TINY, "hiden_size": 8}), vocab_size=64, seed=0)


def test_model_that_cannot_be_found_is_named():
    with pytest.raises(InputError, match="'no/such/model' cannot be loaded"):
        build_model(ModelConfig(name="no/such/model"), vocab_size=64, seed=0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hidden_size": "big"}, "expected int, got str"),
        ({"hidden_size": 15}, "not a multiple of the number of attention heads"),
        ({"hidden_act": "sillu"}, "sillu"),
        ({"num_attention_heads": 0}, "division"),
        ({"model_type": "t5"}, "t5 config has no such setting|T5Config"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused_before_anything_is_made(changed, said):
    config = ModelConfig(config={**TINY, **changed})
    with pytest.raises(InputError, match=f"^proxy.config.*({said})"):
        check_architecture(config, "proxy", 32)
    with pytest.raises(InputError, match=f"^model.config.*({said})"):
        build_model(config, vocab_size=64, seed=0)


def test_looking_at_a_model_makes_nothing_of_its_size_and_changes_no_config():
    large = {**TINY, "hidden_size": 2**20, "vocab_size": 2**20, "rope_parameters": {"factor": 2.0}}
    config = ModelConfig(config=large)
    before = repr(config)
    check_architecture(config, "model", 32)  # of a terabyte and more
    assert repr(config) == before


def test_a_model_that_cannot_be_found_and_adapters_without_a_layer_are_refused_at_once(tmp_path):
    with pytest.raises(InputError, match=f"^proxy: '{tmp_path}' cannot be loaded"):
        check_architecture(ModelConfig(name=str(tmp_path)), "proxy", 32)
    lora = {"target_modules": ["q_proj", "nothing"]}
    check_architecture(ModelConfig(config=TINY, lora=lora), "model", 32)
    with pytest.raises(InputError, match=r"^model.lora.target_modules"):
        nothing = {"target_modules": ["nothing"]}
        check_architecture(ModelConfig(config=TINY, lora=nothing), "model", 32)
    build_model(ModelConfig(config=TINY), vocab_size=64, seed=0).save_pretrained(tmp_path)
    check_architecture(ModelConfig(name=str(tmp_path)), "proxy", 32)


BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def test_a_model_that_sees_what_it_predicts_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"model: BertLMHeadModel sees .* or set is_decoder: true"):
        check_architecture(ModelConfig(config=BERT), "model", 32)
    check_architecture(ModelConfig(config={**BERT, "is_decoder": True}), "model", 32)
    build_model(ModelConfig(config=BERT), vocab_size=64, seed=0).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"is made to generate text\.$"):
        check_architecture(ModelConfig(name=str(tmp_path)), "model", 32)


GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_head": 2, "n_layer": 1, "n_positions": 32}
OPT = {
    "model_type": "opt",
    "hidden_size": 16,
    "word_embed_proj_dim": 16,
    "ffn_dim": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}


@pytest.mark.parametrize("arguments", [GPT2, OPT], ids=["gpt2", "opt"])
def test_a_model_with_a_vector_for_each_position_takes_no_longer_samples(arguments, tmp_path):
    config = ModelConfig(config=arguments)
    check_architecture(config, "model", 32)
    with pytest.raises(InputError, match=r"^model: it has 32 positions, but samples have up to 33"):
        check_architecture(config, "model", 33)
    build_model(config, vocab_size=64, seed=0).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"^proxy: it has 32 positions"):
        check_architecture(ModelConfig(name=str(tmp_path)), "proxy", 33)


def test_a_model_that_turns_by_position_takes_longer_samples():
    config = ModelConfig(config={**TINY, "max_position_embeddings": 16})
    check_architecture(config, "model", 32)
    model = build_model(config, vocab_size=64, seed=0)
    assert model(torch.arange(32)[None]).logits.isfinite().all()
