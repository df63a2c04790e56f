"""Causal language models: loaded by name, or built from a config with seeded random weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from dids.config.schema import ModelConfig
from dids.data.hub import refuse_missing_folder
from dids.errors import InputError, first_line
from dids.gradients.losses import sees_what_it_predicts
from dids.training.lora import with_adapters
from dids.training.quantization import (
    check_quantization,
    keep_differentiable,
    quantizing,
)

# What Transformers' configs and models raise over values that do not fit each other.
_CANNOT_BE_BUILT = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)


def build_model(
    config: ModelConfig,
    *,
    vocab_size: int,
    seed: int,
    pad_token_id: int | None = None,
    eos_token_id: int | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """A causal language model that fits the tokenizer.

    Args:
        config: A hub name or folder, or the arguments of ``AutoConfig.for_model``.
        vocab_size: Number of token ids of the tokenizer; the default of a model built from a
            config.
        seed: Of the random weights, where there are no trained ones.
        pad_token_id: The tokenizer's, for a model built from a config.
        eos_token_id: The tokenizer's, for a model built from a config.
        trust_remote_code: Whether a hub model may run code of its own.

    Raises:
        InputError: If the model cannot be found or built, has fewer embeddings than the tokenizer
            has ids, or no layer for its adapters.
    """
    if config.name is not None:
        model = _loaded(config, config.name, trust_remote_code)
    else:
        model = _built(config, vocab_size, seed, pad_token_id, eos_token_id)
        model = model.to(getattr(torch, config.dtype))
    num_embeddings = len(cast(Tensor, model.get_input_embeddings().weight))
    if num_embeddings < vocab_size:
        raise InputError(
            f"model: its vocabulary has {num_embeddings} entries, but the tokenizer has "
            f"{vocab_size}; "
            "use the model's own tokenizer, or a model with at least as many entries."
        )
    return model if config.lora is None else with_adapters(model, config.lora, seed)


def model_device() -> torch.device:
    """Where this process runs its models: on the GPU that it was given, or on the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def saved_model(
    folder: Path, device: torch.device, *, trust_remote_code: bool = False
) -> PreTrainedModel:
    """A model that a stage of a run has saved."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, use_safetensors=True, trust_remote_code=trust_remote_code
    )
    nn.Module.to(model, device)
    return model


def tested_model(
    model: Path | ModelConfig,
    device: torch.device,
    *,
    vocab_size: int,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """A model to test: one that a stage has saved, or the one that training begins with.

    Args:
        model: The folder of the one, or what the config says of the other, by its name.
        device: Where it runs.
        vocab_size: Number of token ids of the tokenizer.
        trust_remote_code: Whether code that comes with it may run.

    Raises:
        InputError: As of `build_model`.
    """
    if isinstance(model, Path):
        return saved_model(model, device, trust_remote_code=trust_remote_code)
    base = build_model(model, vocab_size=vocab_size, seed=0, trust_remote_code=trust_remote_code)
    nn.Module.to(base, device)
    return base


def _loaded(config: ModelConfig, name: str, trust_remote_code: bool) -> PreTrainedModel:
    arguments: dict[str, Any] = {"dtype": getattr(torch, config.dtype)}
    if config.quantization is not None:
        arguments["quantization_config"] = quantizing(config.quantization, arguments["dtype"])
    with _found(name, "model"):
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            name, use_safetensors=True, trust_remote_code=trust_remote_code, **arguments
        )
    keep_differentiable(model)
    return model


def _built(
    config: ModelConfig,
    vocab_size: int,
    seed: int,
    pad_token_id: int | None,
    eos_token_id: int | None,
) -> PreTrainedModel:
    arguments = {
        "vocab_size": vocab_size,
        "pad_token_id": pad_token_id,
        "eos_token_id": eos_token_id,
        "bos_token_id": None,
        **(config.config or {}),
    }
    known_size = arguments["vocab_size"]
    if known_size < vocab_size:
        raise InputError(
            f"model.config.vocab_size is {known_size}, but the tokenizer has {vocab_size} entries; "
            "leave it out, or make it at least as large."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _of_arguments(arguments, "model")


def check_architecture(
    config: ModelConfig, field: str, sequence_length: int, *, trust_remote_code: bool = False
) -> None:
    """Refuse a model that cannot be built or found; no weights are made or loaded.

    Args:
        config: Of the model.
        field: Of the config file, for messages.
        sequence_length: Tokens of the longest sample.
        trust_remote_code: Whether a hub model may run code of its own.

    Raises:
        InputError: Naming the setting, or with the reason that Transformers gives.
    """
    if config.quantization is not None:
        quantizing(config.quantization, getattr(torch, config.dtype))
    with torch.device("meta"):
        if config.config is not None:
            model = _of_arguments(config.config, field)
        else:
            assert config.name is not None
            with _found(config.name, field):
                found = AutoConfig.from_pretrained(config.name, trust_remote_code=trust_remote_code)
            check_quantization(found, config.name, field, has_lora=config.lora is not None)
            with _found(config.name, field):
                model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                    found, trust_remote_code=trust_remote_code
                )
        if sees_what_it_predicts(model):
            raise InputError(
                f"{field}: {type(model).__name__} sees the tokens that it is to predict, because "
                "its config has is_decoder: false; take a model that is made to generate text"
                f"{', or set is_decoder: true' if config.name is None else ''}."
            )
        _check_positions(model, field, sequence_length)
        if config.lora is not None:
            with_adapters(model, config.lora, seed=0)


def _check_positions(model: PreTrainedModel, field: str, sequence_length: int) -> None:
    """Refuse a model that has learnt a vector for each position, and too few of them."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions >= sequence_length:
        return
    ids = model.get_input_embeddings()
    learnt = [
        module
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module is not ids
    ]
    # OPT and those after it leave the first two for what is padded.
    if any(module.num_embeddings in (positions, positions + 2) for module in learnt):
        raise InputError(
            f"{field}: it has {positions} positions, but samples have up to {sequence_length} "
            "tokens (data.sequence_length); make them shorter, or take a model with more."
        )


@contextmanager
def _found(name: str, field: str) -> Iterator[None]:
    """Inside, a hub name or folder is looked up."""
    refuse_missing_folder(name, field)
    try:
        yield
    except (OSError, *_CANNOT_BE_BUILT) as error:
        raise InputError(f"{field}: '{name}' cannot be loaded: {_reason(error)}.") from None


def _reason(error: Exception) -> str:
    return first_line(error.__cause__ or error)


def _of_arguments(arguments: Mapping[str, Any], field: str) -> PreTrainedModel:
    settings = deepcopy(dict(arguments))  # Transformers writes into what is nested in it
    model_type = settings.pop("model_type")
    try:
        known = AutoConfig.for_model(model_type)
    except ValueError:
        raise InputError(
            f"{field}.config.model_type: transformers knows no model type '{model_type}'; for "
            "instance llama, gpt_neox, qwen2."
        ) from None
    except StrictDataclassError:  # its defaults alone do not fit each other
        known = None
    unknown = [name for name in settings if known is not None and not hasattr(known, name)]
    if unknown:
        raise InputError(f"{field}.config.{unknown[0]}: a {model_type} config has no such setting.")
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            AutoConfig.for_model(model_type, **settings)
        )
    except _CANNOT_BE_BUILT as error:
        raise InputError(
            f"{field}.config: no {model_type} model can be built: {_reason(error)}."
        ) from None
    return model
