"""Every code block of the documentation runs, page by page, each page in a folder of its own.

- ``python``: executed in order, in one namespace a page; a ``text`` block right behind one is what
  it prints.
- ``yaml``: a config is loaded by the schema, sections of one too; anything else must be YAML.
- ``bash``, and lines of ``console`` that begin with ``$``: run, ``dids`` in this process, on the
  page's own config made small (`small_configs`), or on a small run where the page has none.
- A block whose first line names a file, as ``# my_policy.py``, is written to that file.
- ``<!-- not run: reason -->`` before a block: commands are parsed and no more.
- Other languages are shown, not run; a block without a language is refused.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from page_run import RUN, call, run_page
from pages import PAGES, blocks_of, name_of
from run.tiny_run import write_config

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    config = write_config(folder, mixture={"policy": "dids", "rounds": 2}, budget={"tokens": 1200})
    status, _, complaint = call(["run", str(config)])
    assert status == 0, complaint
    return folder


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """An empty current folder; variables and modules of a page do not outlive it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIDS_DATA", "data")
    variables = dict(os.environ)
    yield tmp_path
    os.environ.clear()
    os.environ.update(variables)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=name_of)
def test_every_code_block_of_a_page_runs(page, finished_run, own_folder):
    to_run = [b for b in blocks_of(page) if b.language in RUN and b.reason is None]
    assert run_page(page, finished_run) == len(to_run)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_not_run_says_why(page):
    text = page.read_text(encoding="utf-8")
    marks = re.findall(r"^<!-- not run:(.*?)-->", text, re.MULTILINE)
    taken = [block.reason for block in blocks_of(page) if block.reason is not None]
    assert len(marks) == len(taken), "a mark stands right before its block"
    assert all(len(reason.split()) >= 3 for reason in marks)


BROKEN = {
    "python": "1 / 0",
    "yaml": "mixture: {policy: magic}",
    "json": "{not json}",
    "bash": "dids impact --no-such-option runs/demo",
    "console": "$ dids run nothing.txt",
    "": "anything",
}


@pytest.mark.parametrize("language", BROKEN)
def test_a_block_that_breaks_is_named_with_its_line(language, finished_run, own_folder):
    page = own_folder / "page.md"
    page.write_text(f"# Title\n\n```{language}\n{BROKEN[language]}\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page\.md:4"):
        run_page(page, finished_run)


def test_a_block_that_is_not_run_is_parsed(finished_run, own_folder):
    page = own_folder / "page.md"
    mark = "<!-- not run: it takes an hour -->"
    for command in ("dids run --no-such-option c.yaml", "make no-such-target"):
        page.write_text(f"{mark}\n```bash\n{command}\n```\n", encoding="utf-8")
        with pytest.raises(AssertionError, match=r"page\.md:3"):
            run_page(page, finished_run)
        shutil.rmtree("examples")
    page.write_text(f"{mark}\n```bash\ndids run c.yaml\nmake demo\n```\n", encoding="utf-8")
    assert run_page(page, finished_run) == 0


def test_what_a_python_block_prints_is_what_stands_behind_it(finished_run, own_folder):
    page = own_folder / "page.md"
    page.write_text("```python\nprint(2)\n```\n\n```text\n3\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page.md:6.*'2"):
        run_page(page, finished_run)
