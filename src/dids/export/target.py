"""What a target is: a writer, a reader, and what its weights mean."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from dids.errors import InputError
from dids.export.blend import Blend, BlendDomain
from dids.export.run_mixture import Unit


@dataclass(frozen=True)
class ImportedMixture:
    """A mixture that was read from another trainer's file.

    Attributes:
        weights: By name, not yet summing to 1.
        unit: What they are shares of.
        files: Files of the records by name; without the names whose data has a form of its own.
    """

    weights: Mapping[str, float]
    unit: Unit
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """Another trainer's form of a mixture.

    Attributes:
        name: As ``--to`` and ``--from`` take it.
        title: As its makers write it.
        file_name: Of the file, unless another is asked for.
        unit: What its weights are shares of.
        meaning: What a weight does there, in one sentence.
        write: The texts of the files: first the file itself under ``""``, then what belongs beside
            it in a folder of its own, by name. Given where that folder will be.
        read: The mixture in such a file.
        comment: What begins a comment line; None where the form has no comments.
        data: ``records`` if it reads the domains' records, ``own`` if they must be made into a form
            of its own first.
        place: What stands for a domain where the form has no names: a path. None: its name.
        takes_schedule: Whether it takes more than one stage.
        takes_several_files: Whether a domain may have several files.
    """

    name: str
    title: str
    file_name: str
    unit: Unit
    meaning: str
    write: Callable[[Blend, Path], dict[str, str]]
    read: Callable[[Path], ImportedMixture]
    comment: str | None = "#"
    data: Literal["records", "own"] = "records"
    place: Callable[[Blend, BlendDomain], str] | None = None
    takes_schedule: bool = False
    takes_several_files: bool = True


def first_file(blend: Blend, domain: BlendDomain) -> str:
    """What stands for a domain in forms that name its files and nothing else."""
    del blend
    return domain.files[0]


def yaml_text(value: Any) -> str:  # noqa: ANN401
    """A value as YAML, in the order given."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML (or JSON) file of another trainer.

    Raises:
        InputError: If there is none.
    """
    try:
        value = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(
            f"{path}{where}: not valid YAML: {getattr(error, 'problem', error)}."
        ) from None
    if not isinstance(value, dict):
        what = "empty" if value is None else f"a {type(value).__name__}"
        raise InputError(f"{path}: must be a mapping, but it is {what}.")
    return value


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name a file.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8.") from None


def entry(value: Any, path: Path, *keys: str | int) -> Any:  # noqa: ANN401
    """What stands below some keys of a file's value.

    Raises:
        InputError: If it is not there; the sentence names the field.
    """
    try:
        for key in keys:
            value = value[key]
    except (KeyError, IndexError, TypeError):
        field_name = ".".join(map(str, keys))
        raise InputError(f"{path}: the field '{field_name}' is missing.") from None
    return value


def entries(value: Any, path: Path, key: str) -> list[Mapping[str, Any]]:  # noqa: ANN401
    """The list of mappings that stands below a key of a file's value.

    Raises:
        InputError: If it is not there, or something else.
    """
    found = entry(value, path, key)
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise InputError(f"{path}: '{key}' must be a list of mappings.")
    return found


def named_entries(value: Any, path: Path, key: str) -> Mapping[Any, Any]:  # noqa: ANN401
    """The mapping from names that stands below a key of a file's value.

    Raises:
        InputError: If it is not there, or something else.
    """
    found = entry(value, path, key)
    if not isinstance(found, Mapping):
        raise InputError(f"{path}: '{key}' must be a mapping from names.")
    return found


def named_weights(values: Any, path: Path, field_name: str) -> dict[str, float]:  # noqa: ANN401
    """The weights of a mapping from names.

    Raises:
        InputError: If it is no mapping, or one is no weight.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{path}: '{field_name}' must be a mapping from names to weights.")
    return {
        str(name): number(value, path, f"{field_name}.{name}") for name, value in values.items()
    }


def paired_weights(
    names: Sequence[str], values: Sequence[Any], path: Path, field_name: str
) -> dict[str, float]:
    """The weights of a list of data sets whose weights stand in a list of their own.

    Raises:
        InputError: If the lists differ in length, or one is no weight.
    """
    if len(values) != len(names):
        raise InputError(
            f"{path}: '{field_name}' has {len(values)} values for {len(names)} data sets."
        )
    return {
        name: number(value, path, field_name) for name, value in zip(names, values, strict=True)
    }


def number(value: Any, path: Path, field_name: str) -> float:  # noqa: ANN401
    """A weight of a file.

    Raises:
        InputError: If it is no number, or negative.
    """
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = float("nan")
    if not 0.0 <= weight < float("inf"):
        raise InputError(
            f"{path}: the field '{field_name}' must be a weight, 0 or more, but it is "
            f"{value!r:.40}."
        )
    return weight
