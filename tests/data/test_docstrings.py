"""Taking out docstrings changes nothing else."""

import argparse
import ast
import typing
from pathlib import Path

import pytest

from dids.data.docstrings import module_docstrings, parsed_module, without_docstrings

SOURCES = [
    '"""Module."""\nx = 1\n',
    '"""Module."""',
    'def f():\n    """Doc\n    goes on."""\n    return 1\n',
    'def f():\n    """Alone."""\n',
    'def f(): "one line"; return 2\n',
    'class A:\n    "Doc"  # with a comment\n    x: int = 1\n',
    'class Ä:\n    "Dök"\n    def ü(self):\n        "ö"\n        return "ä"\n',
    'if True:\n    async def f():\n        r"""Raw \\d."""\n        x = "not a docstring"\n',
    'try:\n    def f():\n        "a"\nexcept E:\n    def f():\n        "b"\nfinally:\n    pass\n',
    'def f():\n    ("in brackets"\n     "and two parts")\n    return 1\n',
    "x = 1\n",
    "",
    'def f():\n    "a"; "b"\n',
    'match x:\n    case 1:\n        def f():\n            "doc"\n',
]


def bare(tree):
    """Slow twin: the tree with docstrings taken out of the bodies themselves."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if ast.get_docstring(node, clean=False) is not None:
                body = body[1:]
            # What stands in an emptied body, and a one-line body, is "pass".
            node.body = [part for part in body if not isinstance(part, ast.Pass)]
    return ast.dump(tree)


@pytest.mark.parametrize("source", SOURCES)
def test_only_the_docstrings_are_gone(source):
    rest = without_docstrings(source, ast.parse(source))
    assert bare(ast.parse(rest)) == bare(ast.parse(source))


def test_only_the_docstrings_are_gone_in_real_modules():
    for module in (ast, argparse, typing):
        source = Path(module.__file__).read_text("utf-8")
        rest = without_docstrings(source, ast.parse(source))
        assert bare(ast.parse(rest)) == bare(ast.parse(source))
        assert len(rest) < len(source)


def test_docstrings_come_with_their_lines():
    found = module_docstrings(ast.parse(SOURCES[6]))
    assert found == [(2, "Dök"), (4, "ö")]


def test_what_does_not_parse_is_none():
    assert parsed_module("def") is None
    assert parsed_module("x = '\\d'") is not None  # an old escape warns nobody
    assert parsed_module("\0") is None
