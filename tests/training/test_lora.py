"""Adapters alone are trained; merged, the model says what it said with them."""

import pytest
import torch
from gradients.tiny_models import tiny_experts
from tiny_trainer import tiny_model

from dids.config.schema import LoraSettings
from dids.errors import InputError
from dids.training.lora import with_adapters, without_adapters

pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")


def adapted(**settings):
    model = tiny_model().eval()
    return with_adapters(model, LoraSettings(**{"r": 2, **settings}), seed=1)


def test_adapters_alone_are_trained():
    names = [name for name, p in adapted().named_parameters() if p.requires_grad]
    assert names
    assert all(".lora_" in name for name in names)


def test_adapters_are_on_every_linear_layer_but_the_last_by_default():
    once = LoraSettings(r=2)
    for settings in (once, LoraSettings.model_validate(once.model_dump(mode="json"))):
        model = with_adapters(tiny_model(), settings, seed=1)
        adapted = {n for n, module in model.named_modules() if hasattr(module, "get_base_layer")}
        linear = {n for n, m in tiny_model().named_modules() if isinstance(m, torch.nn.Linear)}
        assert adapted == linear - {"lm_head"}


def test_new_adapters_change_nothing_and_have_a_seed():
    ids = torch.arange(6)[None]
    plain, one, other = tiny_model().eval(), adapted(), adapted()
    torch.testing.assert_close(one(ids).logits, plain(ids).logits)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_merged_model_says_the_same_and_has_the_names_of_before():
    model, ids = adapted(alpha=3.0), torch.arange(6)[None]
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    before = model(ids).logits.detach()
    assert not torch.allclose(before, tiny_model().eval()(ids).logits, atol=1e-3)
    merged = without_adapters(model)
    torch.testing.assert_close(merged(ids).logits, before, rtol=1e-4, atol=1e-5)
    assert set(merged.state_dict()) == set(tiny_model().state_dict())


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"model\.lora\.target_modules: .*nowhere"):
        adapted(target_modules=["nowhere"])


EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]


@pytest.mark.parametrize("layers", [None, ["q_proj"]])
def test_adapters_of_experts_are_merged_like_those_of_layers(layers):
    settings = LoraSettings(r=2, target_modules=layers, target_parameters=EXPERTS)
    model, ids = (
        with_adapters(tiny_experts(double=False).eval(), settings, seed=1),
        torch.arange(6)[None],
    )
    trained = {name.split(".lora_")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * (2 if layers is None else 3)
    torch.testing.assert_close(model(ids).logits, tiny_experts(double=False).eval()(ids).logits)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data.normal_(0.0, 0.3)
    before = model(ids).logits.detach()
    merged = without_adapters(model)
    assert set(merged.state_dict()) == set(tiny_experts(double=False).state_dict())
    torch.testing.assert_close(merged(ids).logits, before, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, tiny_experts(double=False).eval()(ids).logits, atol=1e-3)


def test_a_parameter_that_is_not_there_is_named():
    nowhere = LoraSettings(target_modules=["q_proj"], target_parameters=["experts.donw_proj"])
    with pytest.raises(InputError, match=r"target_parameters: .*'experts.donw_proj'.*down_proj'"):
        with_adapters(tiny_experts(double=False), nowhere, seed=1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target_modules": None}, "target_parameters or both"),
        ({"target_parameters": EXPERTS, "dropout": 0.1}, "dropout must be 0"),
    ],
)
def test_adapters_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        LoraSettings(**settings)


def test_a_model_without_adapters_stays_as_it_is():
    model = tiny_model()
    assert without_adapters(model) is model
