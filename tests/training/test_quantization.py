"""Weights of 4 and 8 bits: adapters beside them train, have exact gradients, and are merged."""

import json

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from dids.config.schema import LoraSettings, ModelConfig
from dids.errors import InputError
from dids.gradients import Coordinates, gradient_statistics
from dids.training import quantization
from dids.training.lora import without_adapters
from dids.training.models import build_model, check_architecture
from dids.training.quantization import known_to_have_adapters

pytest.importorskip("peft")
pytest.importorskip("bitsandbytes")
pytestmark = [pytest.mark.bitsandbytes, pytest.mark.filterwarnings("ignore")]

SIZE = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 96,
}  # fmt: skip
LORA = LoraSettings(r=4, target_modules=["q_proj", "up_proj"])
KINDS = ["4bit", "8bit"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    build_model(ModelConfig(config=SIZE), vocab_size=96, seed=0).save_pretrained(folder)
    return folder


def quantized(folder, kind):
    settings = {"name": str(folder), "quantization": kind, "lora": LORA}
    model = build_model(ModelConfig(**settings), vocab_size=96, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if ".lora_B" in name:  # zero at first, and with it the gradient of the other factor
            parameter.data.normal_(0.0, 0.1, generator=generator)
    return model


def batch():
    ids = torch.randint(0, 96, (3, 12), generator=torch.Generator().manual_seed(2))
    return {"input_ids": ids, "labels": ids}


@pytest.mark.parametrize("kind", KINDS)
def test_own_weights_lie_in_few_bits_and_adapters_alone_are_trained(whole, kind):
    model = quantized(whole, kind)
    own = model.model.layers[0].mlp.down_proj.weight
    assert own.dtype == (torch.uint8 if kind == "4bit" else torch.int8)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 8
    assert all(".lora_" in name for name in trained)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_those_of_each_samples_own_gradient_also_after_an_evaluation(whole, kind):
    model = quantized(whole, kind)
    with torch.no_grad():  # bitsandbytes would make ready for a product without a backward pass
        model(batch()["input_ids"])
    coordinates = Coordinates.of(model)
    found = gradient_statistics(model, [batch()], coordinates, with_squares=True)
    mean, square = torch.zeros(coordinates.size), torch.zeros(coordinates.size)
    for ids in batch()["input_ids"].split(1):
        model.zero_grad()
        logits = model(ids).logits[0, :-1].float()
        torch.autograd.backward(cross_entropy(logits, ids[0, 1:]))
        for name, slot in coordinates.slots.items():
            own = dict(model.named_parameters())[name].grad.flatten()
            assert own.any()
            mean[slot.start : slot.stop] += own / 3
            square[slot.start : slot.stop] += own.square() / 3
    torch.testing.assert_close(found.mean_p, mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.square_p, square, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("was_saved_so", [False, True])
def test_the_merged_model_is_whole_and_says_the_same(whole, tmp_path, kind, was_saved_so):
    if was_saved_so:
        settings = quantization.quantizing(kind, torch.float32)
        before = AutoModelForCausalLM.from_pretrained(whole, quantization_config=settings)
        before.save_pretrained(tmp_path / "few bits")
        model = quantized(tmp_path / "few bits", None)
    else:
        model = quantized(whole, kind)
    ids = batch()["input_ids"]
    said = model(ids).logits.detach()
    merged = without_adapters(model)
    merged.save_pretrained(tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    # LLM.int8() rounds what comes in, too, which whole weights do not.
    close = {"rtol": 1e-4, "atol": 1e-4} if kind == "4bit" else {"rtol": 0.05, "atol": 0.02}
    torch.testing.assert_close(again(ids).logits, said, **close)
    names = set(AutoModelForCausalLM.from_pretrained(whole).state_dict())
    assert set(merged.state_dict()) == names
    assert all(p.dtype == torch.float32 for p in again.parameters())
    assert "quantization_config" not in json.loads((tmp_path / "merged/config.json").read_text())


def test_the_trainers_mark_does_not_stay(whole):
    model = quantized(whole, "4bit")
    with known_to_have_adapters(model):
        assert model._hf_peft_config_loaded
    assert not model._hf_peft_config_loaded


def test_few_bits_need_adapters_and_a_name():
    with pytest.raises(ValidationError, match="quantization needs lora"):
        ModelConfig(name="some/model", quantization="4bit")
    with pytest.raises(ValidationError, match="quantization needs a name"):
        ModelConfig(config=SIZE, quantization="4bit", lora=LORA)


def save_config(whole, folder, method):
    config = json.loads((whole / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "load_in_4bit": True}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def test_a_model_saved_in_few_bits_needs_adapters_and_is_no_proxy(whole, tmp_path):
    name = save_config(whole, tmp_path / "few", "bitsandbytes")
    check_architecture(ModelConfig(name=name, lora=LORA), "model", 32)
    with pytest.raises(InputError, match=r"^model: .*few' are quantised.*give the model adapters"):
        check_architecture(ModelConfig(name=name), "model", 32)
    with pytest.raises(InputError, match=r"^proxy: .*few' are quantised.*give one that is not"):
        check_architecture(ModelConfig(name=name), "proxy", 32)


def test_what_others_have_quantised_is_refused(whole, tmp_path):
    name = save_config(whole, tmp_path / "other", "gptq")
    with pytest.raises(InputError, match=r"quantised by gptq.*model\.quantization"):
        check_architecture(ModelConfig(name=name, lora=LORA), "model", 32)


def test_bitsandbytes_that_is_missing_is_named(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(quantization, "is_bitsandbytes_available", lambda: False)
    settings = ModelConfig(name=str(whole), lora=LORA, quantization="8bit")
    with pytest.raises(InputError, match=r"^model.quantization: .*'dids\[quantization\]'"):
        check_architecture(settings, "model", 32)
    name = save_config(whole, tmp_path / "few", "bitsandbytes")
    with pytest.raises(InputError, match=r"pip install 'dids\[quantization\]'"):
        check_architecture(ModelConfig(name=name, lora=LORA), "model", 32)
