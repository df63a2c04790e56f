"""Reads a config file: variables filled in, every mistake named with its line and field."""

import difflib
import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from dids.config.schema import Config
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


class _UniqueKeyLoader(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice, which YAML would let win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise InputError(
                    f"{key_node.start_mark.name}, line {line}: '{key}' is given twice; names must "
                    "differ."
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_config(path: Path) -> Config:
    """Read and check a config file.

    ``${NAME}`` and ``${NAME:-default}`` stand for environment variables. Relative paths are
    relative to the current folder and become absolute.

    Raises:
        InputError: If the file is missing, no YAML, or says something that the schema does not
            allow.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path}: there is no such config file; `dids init {path}` writes one."
        ) from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give the path of a config file.") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8."
        ) from None
    loader = _UniqueKeyLoader(text)
    loader.name = str(path)
    try:
        root = loader.get_single_node()
        raw = loader.construct_document(root) if root is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise InputError(f"{path}{where}: not valid YAML: {problem}.") from None
    finally:
        loader.dispose()
    if not isinstance(raw, dict):
        raise InputError(
            f"{path}: the config must be a mapping of sections; `dids init` writes one."
        )
    filled = _filled_in(raw, (), path)
    try:
        config = Config.model_validate(filled)
    except ValidationError as error:
        raise InputError(_one_sentence(error, filled, root, path)) from None
    check_training_arguments(config.training, str(path))
    _check_allowed_leaks(config, root, path)
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


def _one_sentence(error: ValidationError, raw: Any, root: yaml.Node | None, path: Path) -> str:  # noqa: ANN401
    first = next((e for e in error.errors() if e["type"] == "extra_forbidden"), error.errors()[0])
    location = _location_in_file(first["loc"], raw)
    line = _line_of(root, location)
    where = f"{path}, line {line}" if line is not None else str(path)
    field = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.4)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"known keys: {', '.join(known)}."
        return f"{where}: unknown key '{field}'; {hint}"
    if first["type"] == "missing":
        return f"{where}: '{field}' is missing; `dids init` shows a complete config."
    message = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    shown = f", got {value!r}" if isinstance(value, (str, int, float, bool)) else ""
    return f"{where}: '{field}': {message[0].lower()}{message[1:]}{shown}."


def _location_in_file(location: tuple[int | str, ...], raw: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Drop what pydantic adds to a path (names of union members), keep what the file has."""
    kept: list[str] = []
    value = raw
    for i, part in enumerate(location):
        is_last = i == len(location) - 1
        if (isinstance(value, Mapping) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        ):
            value = value[part]  # type: ignore[index]
        elif not (is_last and isinstance(value, Mapping)):
            continue
        kept.append(str(part))
    return tuple(kept) or tuple(str(part) for part in location)


def _line_of(node: yaml.Node | None, location: tuple[str, ...]) -> int | None:
    if node is None:
        return None
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == part), None)
            if found is None:
                return int(line)
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
    return int(line)


def _known_keys(location: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        field = model.model_fields.get(part)
        inner = _model_in(field.annotation) if field is not None else None
        if inner is not None:
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


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


def _check_allowed_leaks(config: Config, root: yaml.Node | None, path: Path) -> None:
    """Refuse names that are no task, or no split of one."""
    for name in config.check.allowed_leaks:
        task, slash, split = name.partition("/")
        where = f"{path}, line {_line_of(root, ('check', 'allowed_leaks'))}: 'check.allowed_leaks'"
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
