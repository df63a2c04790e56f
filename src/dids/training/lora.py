"""LoRA (Hu et al. 2022, arXiv:2106.09685) through peft: adapters are trained, the model is kept.

The model stays one of its own class, whose checkpoints hold everything; after training the adapters
are merged into its weights, so that whatever comes then sees a model like any other.
"""

from difflib import get_close_matches
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from dids.config.schema import LoraSettings
from dids.errors import InputError, first_line
from dids.training.quantization import is_quantized, made_whole


def with_adapters(model: PreTrainedModel, settings: LoraSettings, seed: int) -> PreTrainedModel:
    """The model with adapters beside its layers or experts, which alone are trained.

    Args:
        model: Changed in place; its own weights are frozen.
        settings: Of the adapters.
        seed: Of their weights, which change nothing before any training.

    Raises:
        InputError: If peft is not installed, or no layer or parameter has such a name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InputError(
            "model.lora: peft is not installed; pip install 'dids[lora]' brings it."
        ) from None
    targets = () if settings.target_modules is None else settings.target_modules
    parameters = settings.target_parameters
    for target in parameters or ():
        _check_parameter(model, target)
    adapters = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # it is only divided by
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        target_parameters=None if parameters is None else list(parameters),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(adapters, model)
        except ValueError as error:
            raise InputError(f"model.lora.target_modules: {first_line(error)}.") from None
    return model


def without_adapters(model: PreTrainedModel) -> PreTrainedModel:
    """The model with its adapters, if it has some, merged into its weights; changed in place."""
    was_quantized = is_quantized(model)
    model = made_whole(model)
    adapted = [(n, m) for n, m in model.named_modules() if hasattr(m, "get_base_layer")]
    for name, layer in reversed(adapted):  # of one inside another the inner one first
        if was_quantized and isinstance(layer.get_base_layer(), nn.Linear):
            _merge_into_whole(layer)
        else:
            layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    return model


def _merge_into_whole(layer: nn.Module) -> None:
    """Merge the adapter of a layer that was quantised: peft's own ``merge`` would look for bits."""
    known: Any = layer
    weight = known.get_base_layer().weight
    with torch.no_grad():
        for adapter in known.active_adapters:
            weight += known.get_delta_weight(adapter).to(weight)


def _check_parameter(model: PreTrainedModel, target: str) -> None:
    """Refuse what is the end of no parameter's name: peft would train the others without a word."""
    names = [name for name, _ in model.named_parameters()]
    if any(name == target or name.endswith(f".{target}") for name in names):
        return
    nearest = get_close_matches(target, names, n=1, cutoff=0.0)[0]
    raise InputError(
        f"model.lora.target_parameters: no parameter's name ends with {target!r}; the nearest is "
        f"{nearest!r}."
    )
