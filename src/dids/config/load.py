"""Reads a config file: variables filled in, every mistake named with its line and field."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dids.config.schema import Config
from dids.config.sharding import check_sharding
from dids.config.yaml_file import YamlFile
from dids.errors import InputError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_OWN_TRAINING_ARGUMENTS = {
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
}


def load_config(path: Path) -> Config:
    """Read and check a config file.

    ``${NAME}`` and ``${NAME:-default}`` stand for environment variables. Relative paths are
    relative to the current folder and become absolute.

    Raises:
        InputError: If the file is missing, no YAML, or says something that the schema does not
            allow.
    """
    file = YamlFile.read(path, kind="config file", advice=f"`dids init {path}` writes one")
    config = file.checked(Config, _filled_in(file.raw, (), path))
    check_training_arguments(config.training, str(path))
    _check_allowed_leaks(config, file)
    return _with_absolute_paths(config)


def _filled_in(value: Any, where: tuple[str, ...], path: Path) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {key: _filled_in(item, (*where, str(key)), path) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled_in(item, (*where, str(i)), path) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = os.environ.get(name, default)
        if found is None:
            raise InputError(
                f"{path}: {'.'.join(where)} uses ${{{name}}}, but the environment variable {name} "
                "is not set."
            )
        return found

    return _VARIABLE.sub(variable, value)


def check_training_arguments(arguments: Mapping[str, Any], where: str) -> None:
    """Refuse names that ``TrainingArguments`` does not have, and those that the run sets itself."""
    if not arguments:
        return
    from dataclasses import fields

    from transformers import TrainingArguments

    known = [field.name for field in fields(TrainingArguments) if field.init]
    for name in arguments:
        if name in _OWN_TRAINING_ARGUMENTS:
            raise InputError(
                f"{where}: 'training.{name}' is set by the run itself; use "
                f"{_OWN_TRAINING_ARGUMENTS[name]}."
            )
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = (
                f"did you mean '{nearest[0]}'?"
                if nearest
                else "see transformers.TrainingArguments."
            )
            raise InputError(f"{where}: unknown key 'training.{name}'; {hint}")
    check_sharding(arguments, where)


def _check_allowed_leaks(config: Config, file: YamlFile) -> None:
    """Refuse names that are no task, or no split of one."""
    for name in config.check.allowed_leaks:
        task, slash, split = name.partition("/")
        where = f"{file.where(('check', 'allowed_leaks'))}: 'check.allowed_leaks'"
        if task not in config.tasks:
            raise InputError(f"{where}: there is no task '{task}', only {', '.join(config.tasks)}.")
        if slash and split not in ("validation", "test"):
            raise InputError(f"{where}: '{name}' must end with /validation or /test.")


def _with_absolute_paths(config: Config) -> Config:
    def absolute(path: str) -> str:
        if path.startswith(("hf:", "python:")):
            return path
        return str(Path(path).expanduser().absolute())

    raw = config.model_dump()
    raw["run"] = absolute(raw["run"])
    for source in raw["data"]["sources"].values():
        source["path"] = tuple(absolute(path) for path in source["path"])
    if raw["data"]["cache"] is not None:
        raw["data"]["cache"] = absolute(raw["data"]["cache"])
    for task in raw["tasks"].values():
        for split in ("validation", "test"):
            task[split] = tuple(absolute(path) for path in task[split])
    for section in ("model", "proxy", "tokenizer"):
        name = raw[section].get("name")
        if name is not None and Path(name).expanduser().is_dir():
            raw[section]["name"] = absolute(name)
    return Config.model_validate(raw)
