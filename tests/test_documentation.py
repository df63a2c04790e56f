"""The documentation says what the code does: links, configs, fields, commands."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest
import yaml

from dids.cli import app
from dids.config import load_config
from dids.mixture.policy import POLICIES
from dids.run.stages import STAGES

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in page.parts),
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(page):
    return str(page.relative_to(ROOT))


def text_of(page):
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def heading_anchors(page):
    """The anchors that GitHub and MyST give to headings."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page):
    for link in LINK.findall(BLOCK.sub("", text_of(page))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link} is not there"
        if anchor:
            assert anchor in heading_anchors(target), f"{link}: no such heading"


def config_blocks():
    for page in PAGES:
        for number, (language, body) in enumerate(BLOCK.findall(text_of(page))):
            if language == "yaml" and re.search(r"^run:", body, re.MULTILINE):
                yield pytest.param(body, id=f"{name_of(page)}-{number}")


@pytest.mark.parametrize("body", list(config_blocks()))
def test_every_config_in_the_documentation_loads(body, tmp_path, monkeypatch):
    monkeypatch.setenv("DIDS_DATA", "/data")
    path = tmp_path / "config.yaml"
    path.write_text(body, encoding="utf-8")
    load_config(path)


@pytest.mark.parametrize("name", ["demo", "instruct"])
def test_every_example_loads(name, monkeypatch):
    monkeypatch.setenv("DIDS_DATA", "/data")
    load_config(ROOT / "examples" / f"{name}.yaml")


def test_the_tutorials_config_is_the_demos(monkeypatch):
    blocks = [b for language, b in BLOCK.findall(text_of(ROOT / "docs/tutorial.md"))]
    shown = next(yaml.safe_load(body) for body in blocks if body.startswith("run: runs/demo"))
    demo = yaml.safe_load(text_of(ROOT / "examples/demo.yaml"))
    assert shown.pop("training").items() <= demo.pop("training").items()
    assert shown == demo


def test_every_field_is_documented_as_the_schema_has_it(generator):
    page = text_of(ROOT / "docs/config.md")
    assert page == generator.config_page(page), "run: python docs/generate.py"


def test_every_command_is_documented_as_its_help_has_it(generator):
    assert text_of(ROOT / "docs/cli.md") == generator.cli_page(), "run: python docs/generate.py"


def test_every_command_is_in_the_reference(generator):
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert sorted(names) == sorted(generator.COMMANDS)


def test_every_policy_is_documented():
    for page in ("README.md", "docs/config.md"):
        for policy in POLICIES:
            assert policy in text_of(ROOT / page)
    for name, policy in POLICIES.items():
        for setting in inspect.signature(policy).parameters:
            assert f"`{setting}`" in text_of(ROOT / "docs/config.md"), f"{name}: {setting}"


def test_every_stage_is_in_the_account_of_the_run_folder():
    page = text_of(ROOT / "docs/run-folder.md")
    for stage in STAGES:
        assert f"`{stage}`" in page


def test_readme_is_for_newcomers_short_and_with_places_for_what_was_measured():
    readme = text_of(ROOT / "README.md")
    assert len(readme.splitlines()) <= 160
    for table in ("demo-table", "instruct-table"):
        assert f"<!-- {table} -->" in readme
        assert f"<!-- /{table} -->" in readme
