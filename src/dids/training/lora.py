"""LoRA (Hu et al. 2022, arXiv:2106.09685) through peft: adapters are trained, the model is kept.

The model stays one of its own class, whose checkpoints hold everything; after training the adapters
are merged into its weights, so that whatever comes then sees a model like any other.
"""

import torch
from transformers import PreTrainedModel

from dids.config.schema import LoraSettings
from dids.errors import InputError, first_line


def with_adapters(model: PreTrainedModel, settings: LoraSettings, seed: int) -> PreTrainedModel:
    """The model with adapters beside its linear layers, which alone are trained.

    Args:
        model: Changed in place; its own weights are frozen.
        settings: Of the adapters.
        seed: Of their weights, which change nothing before any training.

    Raises:
        InputError: If peft is not installed, or no layer has such a name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InputError(
            "model.lora: peft is not installed; pip install 'dids[lora]' brings it."
        ) from None
    targets = settings.target_modules
    adapters = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # it is only divided by
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
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
    adapted = [(n, m) for n, m in model.named_modules() if hasattr(m, "get_base_layer")]
    for name, layer in adapted:
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    return model
