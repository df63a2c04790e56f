"""Models whose own weights lie in 4 or 8 bits (bitsandbytes) while adapters beside them train.

QLoRA (Dettmers et al. 2023, arXiv:2305.14314): weights take an eighth or a quarter of the memory
of float32 and are made whole, layer by layer, as they are multiplied by. After training they are
made whole for good, before the adapters are merged: to round the sum again would lose a part of
what was learnt.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from transformers import BitsAndBytesConfig, PretrainedConfig, PreTrainedModel
from transformers.utils.import_utils import is_bitsandbytes_available

from dids.config.schema import Quantization
from dids.errors import InputError

_OURS = "bitsandbytes"


def quantizing(kind: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig:
    """What Transformers is told to load a model in so few bits.

    Args:
        kind: ``4bit`` is NormalFloat, its constants quantised as well; ``8bit`` is LLM.int8().
        dtype: That layers multiply in.

    Raises:
        InputError: If bitsandbytes is not installed.
    """
    _require_bitsandbytes("model.quantization:")
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def check_quantization(found: PretrainedConfig, name: str, field: str, *, has_lora: bool) -> None:
    """Refuse a model that was saved quantised where it cannot be used.

    Args:
        found: Its own config.
        name: Of the model.
        field: Of the config file, for messages.
        has_lora: Whether adapters are trained beside it.

    Raises:
        InputError: If whole weights are needed, or it was quantised by something that no adapters
            can be trained beside and merged into.
    """
    settings: dict[str, Any] | None = getattr(found, "quantization_config", None)
    if settings is None:
        return
    if not has_lora:
        raise InputError(
            f"{field}: the weights of '{name}' are quantised, so they have no gradients; give "
            + ("the model adapters (model.lora)." if field == "model" else "one that is not.")
        )
    kind = settings.get("quant_method")
    if kind != _OURS:
        raise InputError(
            f"{field}: '{name}' is quantised by {kind}, and adapters can be merged into what "
            "bitsandbytes has quantised alone; give the model as it was before, and "
            "model.quantization."
        )
    _require_bitsandbytes(f"{field}: '{name}' is quantised, and")


def is_quantized(model: PreTrainedModel) -> bool:
    """Whether a model's own weights lie in few bits."""
    return bool(getattr(model, "is_quantized", False))


def keep_differentiable(model: PreTrainedModel) -> None:
    """Keep 4-bit layers from turning into ones without a backward pass when they are evaluated.

    On a CPU with bfloat16 instructions bitsandbytes packs a layer's weights anew in its first pass
    in evaluation mode, for a product that autograd does not know: the gradients of all layers
    before it would be lost, without a word.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


@contextmanager
def known_to_have_adapters(model: PreTrainedModel) -> Iterator[None]:
    """Inside, a Trainer that is made takes a quantised model, whose adapters peft put there.

    It asks for the mark that Transformers' own ``add_adapter`` leaves. That stays no longer: with
    it, checkpoints would hold the adapters alone.
    """
    marked: Any = model
    if not is_quantized(model):
        yield
        return
    marked._hf_peft_config_loaded = True
    try:
        yield
    finally:
        del marked._hf_peft_config_loaded


def made_whole(model: PreTrainedModel) -> PreTrainedModel:
    """The model with layers of whole weights, in its dtype, for those of few bits; in place."""
    if not is_quantized(model):
        return model
    dtype = cast(Tensor, model.get_input_embeddings().weight).dtype
    whole: Any = model.dequantize(dtype)  # type: ignore[no-untyped-call]
    # A model that was saved quantised remembers how its bits were read, and would be saved so.
    read_by = getattr(whole, "_weight_conversions", None) or ()
    whole._weight_conversions = [each for each in read_by if not _reads_bits(each)] or None
    return cast(PreTrainedModel, whole)


def _reads_bits(conversion: object) -> bool:
    steps = getattr(conversion, "operations", ())
    return any(type(step).__module__.endswith(_OURS) for step in steps)


def _require_bitsandbytes(beginning: str) -> None:
    if not is_bitsandbytes_available():
        raise InputError(
            f"{beginning} bitsandbytes is not installed; pip install 'dids[quantization]' brings "
            "it."
        )
