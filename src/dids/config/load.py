"""Reads a config file: variables filled in, every mistake named with its line and field."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dids.config.schema import Config
from dids.config.trainer_arguments import checked_arguments
from dids.config.yaml_file import YamlFile
from dids.errors import InputError

_VARIABLE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load_config(path: Path) -> Config:
    """Read and check a config file.

    ``${NAME}`` and ``${NAME:-default}`` stand for environment variables, and ``$${NAME}`` for
    ``${NAME}`` itself. Relative paths are relative to the current folder and become absolute.

    Raises:
        InputError: If the file is missing, no YAML, or says something that the schema does not
            allow.
    """
    file = YamlFile.read(path, kind="config file", advice=f"`dids init {path}` writes one")
    config = file.checked(Config, _filled_in(file.raw, (), path))
    training = checked_arguments(config.training, lambda name: file.where(("training", name)))
    config = config.model_copy(update={"training": training})
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
        dollar, name, default = match.groups()
        if dollar:
            return match[0].removeprefix(dollar)
        found = os.environ.get(name, default)
        if found is None:
            raise InputError(
                f"{path}: {'.'.join(where)} uses ${{{name}}}, but the environment variable {name} "
                "is not set."
            )
        return found

    return _VARIABLE.sub(variable, value)


def _check_allowed_leaks(config: Config, file: YamlFile) -> None:
    """Refuse names that are no task, or no split of one."""
    for name in config.check.allowed_leaks:
        task, slash, split = name.partition("/")
        where = f"{file.where(('check', 'allowed_leaks'))}: 'check.allowed_leaks'"
        if task not in config.tasks:
            raise InputError(f"{where}: there is no task '{task}', only {', '.join(config.tasks)}.")
        if slash and split not in ("validation", "test"):
            raise InputError(f"{where}: '{name}' must end with /validation or /test.")


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_absolute_paths(config: Config) -> Config:
    def absolute(path: str) -> str:
        if path.startswith(("hf:", "python:")):
            return path
        if "\0" in path or not _is_utf8(path):
            raise InputError(f"{path!r} is no path: it has a character that no file's name can.")
        return str(Path(path).expanduser().absolute())

    raw = config.model_dump()
    raw["run"] = absolute(raw["run"])
    for source in raw["data"]["sources"].values():
        source["path"] = tuple(absolute(path) for path in source["path"])
    if raw["data"]["cache"] is not None:
        raw["data"]["cache"] = absolute(raw["data"]["cache"])
    for task in raw["tasks"].values():
        for split in ("validation", "test"):
            if task[split] is not None:
                task[split] = tuple(absolute(path) for path in task[split])
    for section in ("model", "proxy", "tokenizer"):
        name = raw[section].get("name")
        if name is not None and Path(name).expanduser().is_dir():
            raw[section]["name"] = absolute(name)
    return Config.model_validate(raw)
