"""The method page: every formula leads to the function that computes it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from pages import PAGES, ROOT, name_of, prose_of, text_of

METHOD = ROOT / "docs" / "method.md"
CODE_LINK = re.compile(r"\[`([\w.]+)`\]\(([^)\s]+\.py)\)")


@cache
def defined_names(path: Path) -> frozenset[str]:
    """Functions, classes, their methods and module constants."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (each for each in node.body if isinstance(each, ast.FunctionDef))
            names |= {f"{node.name}.{each.name}" for each in inner}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(names)


def equations():
    """Rows of the tables of formulas: (formula, where it is computed)."""
    in_table = False
    for line in text_of(METHOD).splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            in_table = False
        elif cells[-1] == "computed by":
            in_table = True
        elif in_table and not set(cells[-1]) <= {"-"}:
            yield pytest.param(cells[-1], id=f"{cells[0]} {cells[1]}"[:60])


def test_the_page_has_its_formulas():
    rows = list(equations())
    assert len(rows) >= 40
    # A formula outside of the tables would be one without its function.
    assert "```" not in text_of(METHOD)


@pytest.mark.parametrize("computed_by", list(equations()))
def test_every_formula_is_linked_to_a_function(computed_by):
    assert CODE_LINK.fullmatch(computed_by), "give [`function`](../src/dids/…py)"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_name_that_is_linked_to_a_file_is_defined_there(page):
    for name, link in CODE_LINK.findall(prose_of(page)):
        path = (page.parent / link).resolve()
        assert name in defined_names(path), f"{link} has no {name}"


def test_every_module_with_a_formula_of_the_mixture_is_on_the_page():
    linked = {link.rpartition("/")[2] for _, link in CODE_LINK.findall(text_of(METHOD))}
    policies = {path.name for path in (ROOT / "src/dids/mixture/policies").glob("dids*.py")}
    assert policies <= linked


def test_a_name_that_is_not_there_is_noticed():
    assert "net_pull" in defined_names(ROOT / "src/dids/mixture/task_mixtures.py")
    assert "Dids.mixture" in defined_names(ROOT / "src/dids/mixture/policies/dids.py")
    assert "REPEATS_HALFLIFE" in defined_names(ROOT / "src/dids/mixture/saturation.py")
    assert "no_such_name" not in defined_names(ROOT / "src/dids/mixture/saturation.py")
