"""What a config may say of parameters that are sharded over processes (FSDP2)."""

from collections.abc import Mapping
from typing import Any

from dids.config.schema import MixtureConfig
from dids.errors import InputError
from dids.mixture.needs import needs_of

ARGUMENTS = ("fsdp", "fsdp_config")
"""Of ``TrainingArguments``; one process has nothing to shard and goes without."""

# Other ways to divide a model over processes.
_OTHERS = ("deepspeed", "parallelism_config")
_SETTINGS = (
    "reshard_after_forward",
    "auto_wrap_policy",
    "transformer_layer_cls_to_wrap",
)
# Of Accelerate's; the one by size wraps lists of layers, which FSDP2 then refuses.
_POLICIES = ("TRANSFORMER_BASED_WRAP", "NO_WRAP")


def shards(arguments: Mapping[str, Any]) -> bool:
    """Whether arguments of a training ask for sharded parameters."""
    return bool(arguments.get("fsdp"))


def check_sharding(arguments: Mapping[str, Any], where: str) -> None:
    """Refuse ways to divide a model over processes that impact cannot be measured with.

    Args:
        arguments: ``TrainingArguments`` by their own names.
        where: Who says so.

    Raises:
        InputError: Naming the argument.
    """
    for name in _OTHERS:
        if arguments.get(name):
            raise InputError(
                f"{where}: 'training.{name}' would divide the model's parameters over processes in "
                "a way that impact is not measured with; training: {fsdp: true} shards them."
            )
    asked = arguments.get("fsdp", False)
    if not isinstance(asked, bool):
        raise InputError(f"{where}: 'training.fsdp' is true or false, not {asked!r}.")
    settings = arguments.get("fsdp_config") or {}
    if not isinstance(settings, Mapping):
        raise InputError(f"{where}: 'training.fsdp_config' is a mapping, not {settings!r}.")
    for key, value in settings.items():
        name = str(key).removeprefix("fsdp_")
        if name == "version" and value != 2:
            raise InputError(
                f"{where}: 'training.fsdp_config.{key}' is {value!r}, but impact is measured with "
                "version 2 alone, which PyTorch keeps."
            )
        if name not in (*_SETTINGS, "version"):
            raise InputError(
                f"{where}: 'training.fsdp_config.{key}' is not among what a run can have sharded: "
                f"{', '.join(_SETTINGS)}."
            )
        if name == "auto_wrap_policy" and value not in _POLICIES:
            raise InputError(
                f"{where}: 'training.fsdp_config.{key}' is {value!r}; it is one of "
                f"{', '.join(_POLICIES)}."
            )


def check_policy(mixture: MixtureConfig) -> None:
    """Refuse a policy that needs what cannot be had of sharded parameters.

    Raises:
        InputError: Naming the policy.
    """
    if needs_of(mixture.new_policy()).brackets:
        raise InputError(
            f"mixture.policy: {mixture.policy} needs Hessians, which cannot be had of parameters "
            "that are sharded; leave training.fsdp out, or take another policy."
        )
