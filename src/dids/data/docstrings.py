"""Python source taken apart: the docstrings, and the code without them."""

import ast
import warnings
from collections.abc import Iterator

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def parsed_module(source: str) -> ast.Module | None:
    """The syntax tree of a file, or None where this Python cannot parse it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in old modules are not the user's to see
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError):
            return None


def module_docstrings(tree: ast.Module) -> list[tuple[int, str]]:
    """Line and cleaned text of every docstring, in the order of the file.

    Example:
        >>> module_docstrings(ast.parse("def f(): 'Say it.'"))
        [(1, 'Say it.')]
    """
    return sorted(
        (node.body[0].lineno, text)
        for node in _documented(tree)
        if (text := ast.get_docstring(node)) is not None
    )


def without_docstrings(source: str, tree: ast.Module) -> str:
    """The source with every docstring taken out.

    Args:
        source: The file's text.
        tree: Its syntax tree.

    Returns:
        Source of the same program: a body that was a docstring alone gets ``pass``.

    Example:
        >>> text = "def f(): 'Say it.'"
        >>> without_docstrings(text, ast.parse(text))
        'def f(): pass'
    """
    # ast counts columns in UTF-8 bytes, and only \n, \r\n and \r end its lines.
    lines = source.encode().split(b"\n")
    spans = [
        (node.body[0], len(node.body) == 1 and not isinstance(node, ast.Module))
        for node in _documented(tree)
        if ast.get_docstring(node, clean=False) is not None
    ]
    for statement, is_alone in sorted(spans, key=lambda span: span[0].lineno, reverse=True):
        first, last = statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1
        before = lines[first][: statement.col_offset]
        after = lines[last][statement.end_col_offset :]
        fills_its_lines = not before.strip() and not after.strip()
        if fills_its_lines and not is_alone:
            del lines[first : last + 1]
        else:
            lines[first : last + 1] = [before + b"pass" + after]
    return b"\n".join(lines).decode()


def _documented(tree: ast.Module) -> Iterator[Documented]:
    """What can carry a docstring; expressions are not entered, so it is faster than ast.walk."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Documented):
            yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            children = getattr(node, name, None)
            if isinstance(children, list):
                waiting.extend(children)
