"""A YAML file whose every mistake is named with its line and field."""

import difflib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from dids.errors import InputError

M = TypeVar("M", bound=BaseModel)


class _UniqueKeyLoader(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice, which YAML would let win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:  # what it brings may be given anew
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    problem="a name must be a word, not a list or mapping; put text with braces "
                    "into quotes",
                    problem_mark=key_node.start_mark,
                )
            if key in seen:
                line = key_node.start_mark.line + 1
                raise InputError(
                    f"{key_node.start_mark.name}, line {line}: '{key}' is given twice; names must "
                    "differ."
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError):
            raise yaml.constructor.ConstructorError(
                problem=f"{str(node.value)[:40]!r} cannot be read as a value; put it into quotes "
                "if it is text",
                problem_mark=node.start_mark,
            ) from None


_MERGE = "tag:yaml.org,2002:merge"


def _refuse_itself(value: Any, above: tuple[int, ...]) -> None:  # noqa: ANN401
    """Refuse a value that an alias has put into itself."""
    if id(value) in above:
        raise yaml.constructor.ConstructorError(problem="an alias is part of what it stands for")
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        for each in inside:
            _refuse_itself(each, (*above, id(value)))


@dataclass(frozen=True)
class YamlFile:
    """A mapping as a file has it.

    Attributes:
        path: Where it was read.
        raw: Its values.
        root: Its nodes, which know their lines.
    """

    path: Path
    raw: dict[str, Any]
    root: yaml.Node

    @classmethod
    def read(cls, path: Path, *, kind: str, advice: str) -> "YamlFile":
        """Read a file.

        Args:
            path: Of the file.
            kind: What it is called in messages.
            advice: What to say of a file that is not there, or says nothing.

        Raises:
            InputError: If it is missing, no YAML, or no mapping.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such {kind}; {advice}.") from None
        except IsADirectoryError:
            raise InputError(f"{path} is a folder; give the path of a {kind}.") from None
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8."
            ) from None
        try:
            loader = _UniqueKeyLoader(text)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise InputError(
                f"{path}, line {line}: not valid YAML: it has the control character "
                f"U+{ord(text[error.position]):04X}."
            ) from None
        loader.name = str(path)
        try:
            root = loader.get_single_node()
            raw = loader.construct_document(root) if root is not None else None
            _refuse_itself(raw, ())
        except RecursionError:
            raise InputError(f"{path}: not valid YAML: it is nested without end.") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark is not None else ""
            problem = getattr(error, "problem", None) or "cannot be read"
            raise InputError(f"{path}{where}: not valid YAML: {problem}.") from None
        finally:
            loader.dispose()
        if root is None or not isinstance(raw, dict):
            raise InputError(f"{path}: the {kind} must be a mapping of sections; {advice}.")
        return cls(path, raw, root)

    def where(self, location: Sequence[str]) -> str:
        """The file, and the line that says something of a field."""
        line = _line_of(self.root, location)
        return f"{self.path}, line {line}" if line is not None else str(self.path)

    def checked(self, model: type[M], values: Mapping[str, Any]) -> M:
        """The values as a model.

        Args:
            model: What they must fit.
            values: Those of the file, or what became of them.

        Raises:
            InputError: For the first value that does not fit.
        """
        try:
            return model.model_validate(values)
        except ValidationError as error:
            raise InputError(self._one_sentence(error, model, values)) from None

    def _one_sentence(
        self, error: ValidationError, model: type[BaseModel], values: Mapping[str, Any]
    ) -> str:
        first = next((e for e in error.errors() if e["type"] == "extra_forbidden"), None)
        first = error.errors()[0] if first is None else first
        location = _location_in_file(first["loc"], values)
        where, field = self.where(location), ".".join(location)
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, location[:-1])
            nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.4)
            hint = (
                f"did you mean '{nearest[0]}'?" if nearest else f"known keys: {', '.join(known)}."
            )
            return f"{where}: unknown key '{field}'; {hint}"
        if first["type"] == "missing":
            return f"{where}: '{field}' is missing; `dids init` shows a complete config."
        message = first["msg"].removeprefix("Value error, ")
        if not location:  # of fields in several sections: the sentence begins with one of them
            return f"{self.where(message.split(maxsplit=1)[0].split('.'))}: {message}."
        value = first.get("input")
        shown = f", got {value!r}" if isinstance(value, (str, int, float, bool)) else ""
        return f"{where}: '{field}': {message[0].lower()}{message[1:]}{shown}."


def _location_in_file(location: tuple[int | str, ...], raw: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Drop what pydantic adds to a path (names of union members), keep what the file has."""
    kept: list[str] = []
    value = raw
    location = tuple(part for part in location if part != "[key]")  # of a name itself
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


def _line_of(node: yaml.Node, location: Sequence[str]) -> int | None:
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


def _known_keys(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    is_name = False
    for part in location:
        if is_name:  # a key of a mapping of sections is a name of the user's
            is_name = False
            continue
        field = model.model_fields.get(part)
        inner = _model_in(field.annotation) if field is not None else None
        if field is not None and inner is not None:
            model, is_name = inner, _is_mapping(field.annotation)
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def _is_mapping(annotation: Any) -> bool:  # noqa: ANN401
    return get_origin(annotation) is dict
