"""Targets that are configured in Python: a module whose weights are one literal, ``WEIGHTS``.

The modules are read without being run.
"""

import ast
from collections.abc import Mapping
from pathlib import Path
from pprint import pformat
from typing import Any

from dids.errors import InputError
from dids.export.target import named_weights, number, read_text

_WEIGHT_ARGUMENTS = ("probabilities", "weights")
"""How the calls name them that mix data sets."""
_PLACE_ARGUMENTS = ("data_files", "local", "input_dir")
"""How the calls name files and folders that open data sets."""


def assignment(name: str, value: Any) -> str:  # noqa: ANN401
    """A constant of a module: one entry a line.

    Example:
        >>> print(assignment("WEIGHTS", {"code": 0.25, "web": 0.75}))
        WEIGHTS = {
            'code': 0.25,
            'web': 0.75,
        }
    """
    if not isinstance(value, Mapping):
        return f"{name} = {value!r}"
    lines = [f"    {key!r}: {pformat(item, width=1000)}," for key, item in value.items()]
    return "\n".join([f"{name} = {{", *lines, "}"])


def module_constants(path: Path) -> dict[str, Any]:
    """The literals that a module assigns to names, read without running it.

    Raises:
        InputError: If it is no Python.
    """
    constants = {}
    for statement in _parsed(path).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                constants[statement.targets[0].id] = ast.literal_eval(statement.value)
            except ValueError:
                continue
    return constants


def module_weights(path: Path) -> dict[str, float]:
    """The weights of a module: its ``WEIGHTS``, or the literals of the call that mixes data sets.

    Raises:
        InputError: If there are none that can be read without running the module.
    """
    weights = module_constants(path).get("WEIGHTS")
    if isinstance(weights, dict) and weights:
        return named_weights(weights, path, "WEIGHTS")
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Call):
            found = _weights_of_call(node, path)
            if found:
                return found
    raise InputError(
        f"{path}: no weights are written out there; it needs WEIGHTS = {{name: weight, ...}}, or "
        "a call with a list of data sets and a list of numbers."
    )


def _weights_of_call(call: ast.Call, path: Path) -> dict[str, float] | None:
    values = next((k.value for k in call.keywords if k.arg in _WEIGHT_ARGUMENTS), None)
    data_sets = next((k.value for k in call.keywords if k.arg == "datasets"), None)
    if data_sets is None and call.args:
        data_sets = call.args[0]
    if not isinstance(values, ast.List | ast.Tuple) or not isinstance(
        data_sets, ast.List | ast.Tuple
    ):
        return None
    try:
        numbers = ast.literal_eval(values)
    except ValueError:
        return None
    names = [_name_of(element, number) for number, element in enumerate(data_sets.elts)]
    if len(names) != len(numbers) or len(set(names)) != len(names):
        return None
    return {name: number(value, path, name) for name, value in zip(names, numbers, strict=True)}


def _name_of(element: ast.expr, position: int) -> str:
    """A variable's name, else that of the file or folder which a call is given."""
    if isinstance(element, ast.Name):
        return element.id
    keywords = element.keywords if isinstance(element, ast.Call) else []
    named = [keyword.value for keyword in keywords if keyword.arg in _PLACE_ARGUMENTS]
    strings = (
        node.value
        for part in [*named, element]
        for node in ast.walk(part)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return Path(next(strings, str(position))).stem


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(read_text(path))
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: not valid Python: {error.msg}.") from None
