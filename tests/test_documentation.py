"""The documentation says what the code does: links, configs, fields, commands."""

import importlib.util
import inspect
import pkgutil
import re
import sys

import pytest
import yaml
from pages import PAGES, ROOT, blocks_of, name_of, prose_of, text_of

import dids
from dids.cli import app
from dids.config import load_config
from dids.mixture.policy import POLICIES
from dids.mixture.policy_names import BUILT_IN
from dids.run.stages import STAGES

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def generator():
    sys.path.insert(0, str(ROOT / "docs"))
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
    for link in LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link} is not there"
        if anchor:
            assert anchor in heading_anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("name", ["demo", "instruct"])
def test_every_example_loads(name, monkeypatch):
    monkeypatch.setenv("DIDS_DATA", "/data")
    load_config(ROOT / "examples" / f"{name}.yaml")


def test_the_tutorials_config_is_the_demos():
    bodies = [block.body for block in blocks_of(ROOT / "docs/tutorial.md")]
    shown = next(yaml.safe_load(body) for body in bodies if body.startswith("run: runs/demo"))
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


def test_every_public_name_is_on_the_pages_of_the_api(generator):
    for name, text in generator.api_pages().items():
        assert text_of(ROOT / "docs/api" / name) == text, "run: python docs/generate.py"


def public_modules():
    found = pkgutil.walk_packages(dids.__path__, "dids.")
    return [module.name for module in found if not module.name.endswith("__main__")]


def test_every_package_is_in_the_api(generator):
    packages = {name.split(".")[1] for name in public_modules()}
    assert packages - {"atomic", "checksum", "cli", "errors", "ranks"} == set(
        generator.API_PACKAGES
    )
    index = text_of(ROOT / "docs/api/index.md")
    assert all(f"\n{package}\n" in index for package in generator.API_PACKAGES)


@pytest.mark.parametrize("name", public_modules())
def test_every_public_name_has_a_docstring(name):
    module = importlib.import_module(name)
    assert inspect.getdoc(module)
    for public, value in vars(module).items():
        if public.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        assert inspect.getdoc(value), public
        for method, body in vars(value).items() if inspect.isclass(value) else ():
            if not method.startswith("_") and inspect.isfunction(body):
                assert inspect.getdoc(getattr(value, method)), f"{public}.{method}"


def test_every_page_is_in_the_index():
    index = text_of(ROOT / "docs/index.md")
    trees = [block.body for block in blocks_of(ROOT / "docs/index.md")]
    listed = {line for tree in trees for line in tree.splitlines() if line[:1] not in ("", ":")}
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert listed - {"api/index"} == pages
    assert all(f"]({page}.md)" in index for page in pages)


def test_every_policy_is_documented(generator):
    page = text_of(ROOT / "docs/policies.md")
    assert page == generator.policy_page.policies_page(), "run: python docs/generate.py"
    assert POLICIES.keys() == BUILT_IN.keys()
    for name, policy in POLICIES.items():
        section = page.partition(f"### `{name}`\n")[2].partition("\n### ")[0]
        for setting in inspect.signature(policy).parameters:
            assert f"| `{setting}` |" in section, f"{name}: {setting}"
        assert "Looks at: " in section


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
