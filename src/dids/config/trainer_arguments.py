"""What a config may say in ``training``: arguments of Transformers' Trainer by their own names."""

import difflib
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, get_args, get_type_hints

from dids.config.sharding import ARGUMENTS as SHARDING
from dids.config.sharding import check_sharding
from dids.errors import InputError
from dids.mixture.typed_value import typed_value

_SET_BY_THE_RUN = {
    "output_dir": "run",
    "max_steps": "budget.tokens",
    "num_train_epochs": "budget.tokens",
    "seed": "seed",
    "data_seed": "seed",
    "save_strategy": "mixture.rounds (a checkpoint is saved every round)",
    "save_steps": "mixture.rounds (a checkpoint is saved every round)",
    "eval_strategy": "tasks",
    "remove_unused_columns": "data",
    "ignore_data_skip": "run",
    "train_sampling_strategy": "mixture",
    "resume_from_checkpoint": "run",
    "use_cpu": "no setting: set CUDA_VISIBLE_DEVICES= instead",
    "eval_on_start": "tasks",
    "auto_find_batch_size": "per_device_train_batch_size",
    "save_only_model": "no setting: a run goes on from the optimizer's state",
    "enable_jit_checkpoint": "no setting: a run that SIGTERM stops saves a checkpoint",
}
# Transformers takes any number and ends in a traceback, or in weights that are no numbers.
_LEAST = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": 0.0,
    "weight_decay": 0.0,
    "warmup_steps": 0.0,
    "max_grad_norm": 0.0,
    "neftune_noise_alpha": 0.0,
    "adam_beta1": 0.0,
    "adam_beta2": 0.0,
    "adam_epsilon": 0.0,
    "dataloader_num_workers": 0,
    "dataloader_prefetch_factor": 1,
}
_BELOW_ONE = ("adam_beta1", "adam_beta2")
_COMPILE = ("torch_compile_mode", "torch_compile_backend")
# Accelerate would then deal out the batches itself, against what the mixture drew for each process.
_DEALS_BATCHES = ("split_batches", "dispatch_batches")
_NEED_EVALUATION = ("reduce_lr_on_plateau", "greedy")


def checked_arguments(arguments: Mapping[str, Any], where: Callable[[str], str]) -> dict[str, Any]:
    """The arguments with values of the types that ``transformers.TrainingArguments`` asks for.

    A number may be written as YAML takes for a word: ``1e-3``.

    Args:
        arguments: By their own names.
        where: File and line of an argument, for messages.

    Raises:
        InputError: For a name that there is not or that the run sets itself, and for a value that
            does not fit.
    """
    if not arguments:
        return {}
    from transformers import TrainingArguments

    hints = get_type_hints(TrainingArguments)
    known = [name for name, each in TrainingArguments.__dataclass_fields__.items() if each.init]
    check_sharding(arguments, where("fsdp"))
    checked = {}
    for name, value in arguments.items():
        field = f"{where(name)}: 'training.{name}'"
        if name in _SET_BY_THE_RUN:
            raise InputError(f"{field} is set by the run itself; use {_SET_BY_THE_RUN[name]}.")
        if name not in known:
            nearest = _nearest(name, known) or "see transformers.TrainingArguments."
            raise InputError(f"{where(name)}: unknown key 'training.{name}'; {nearest}")
        checked[name] = value if name in SHARDING else _checked(name, value, hints[name], field)
    if checked.get("bf16") and checked.get("fp16"):
        raise InputError(
            f"{where('fp16')}: 'training.bf16' and 'training.fp16' are both true; keep one."
        )
    return checked


def _checked(name: str, value: Any, hint: Any, field: str) -> Any:  # noqa: ANN401
    words = [member.value for kind in _enums(hint) for member in kind]
    if words:
        words = [word for word in words if word not in _NEED_EVALUATION]
        _check_word(value, words, "Transformers", field)
        return value
    checked = typed_value(value, hint, field)
    if name in _COMPILE and checked is not None:
        _check_word(checked, _compile_words(name), "torch.compile", field)
    if name == "accelerator_config":
        _check_accelerator(checked, field)
    is_number = checked is not None  # where None is allowed, Transformers takes its default
    if name in _LEAST and is_number and not _LEAST[name] <= checked < float("inf"):
        raise InputError(f"{field} must be {_LEAST[name]:g} or more, got {value!r}.")
    if name in _BELOW_ONE and checked >= 1.0:
        raise InputError(f"{field} must be below 1, got {value!r}.")
    return checked


def _check_accelerator(settings: Any, field: str) -> None:  # noqa: ANN401
    if isinstance(settings, str):
        raise InputError(f"{field} is a mapping, not {settings!r}.")
    for name in _DEALS_BATCHES:
        if (settings or {}).get(name):
            raise InputError(
                f"{field}: {name} would have Accelerate deal out the batches, which the mixture "
                "draws for each process; leave it out."
            )


def _enums(hint: Any) -> list[type[Enum]]:  # noqa: ANN401
    return [kind for kind in get_args(hint) if isinstance(kind, type) and issubclass(kind, Enum)]


def _compile_words(name: str) -> list[str]:
    """What this PyTorch knows."""
    import torch

    if name == "torch_compile_backend":
        return sorted(torch.compiler.list_backends(exclude_tags=()))
    return list(torch._inductor.list_mode_options())


def _check_word(value: object, words: list[str], knower: str, field: str) -> None:
    if value not in words:
        nearest = _nearest(str(value), words) or f"there are: {', '.join(words)}."
        raise InputError(f"{field} is {value!r}, which {knower} does not know; {nearest}")


def _nearest(word: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"did you mean '{close[0]}'?" if close else None
