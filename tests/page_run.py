"""Runs the code blocks of a page in the current folder; `test_code_blocks` says by which rules."""

import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pages import ROOT, Block, blocks_of
from run.tiny_run import tiny_config
from small_configs import make_small
from training.ranks import on_ranks

from dids import cli
from dids.compare.seeds import parsed_seeds
from dids.config import Config, load_config

RUN = ("python", "yaml", "bash", "console", "json")
SHOWN = ("text", "toml", "diff", "html", "bibtex")


def call(arguments: list[str]) -> tuple[int, str, str]:
    """``dids`` with these arguments: exit status, what it prints, what it complains of."""
    printed, complaint, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["dids", *arguments]
    try:
        with redirect_stdout(printed), redirect_stderr(complaint), pytest.raises(SystemExit) as end:
            cli.main()
    finally:
        sys.argv = before
    return int(end.value.code or 0), printed.getvalue(), complaint.getvalue()


class PageRun:
    """A page being run in the current folder."""

    def __init__(self, finished_run: Path) -> None:
        self.finished_run = finished_run
        self.names: dict[str, object] = {"__name__": "page"}
        self.printed: str | None = None
        self.small: set[Path] = set()
        self.num_run = 0

    def run(self, block: Block, place: str) -> None:
        """Run one block; whatever goes wrong is raised."""
        printed, self.printed = self.printed, None
        if block.language == "text":
            if block.follows and printed is not None and block.reason is None:
                assert block.body == printed, f"{place}: the block before prints {printed!r}"
        elif block.reason is not None:
            self.parse(block)
        elif block.file_name is not None:
            self.save(block.file_name, block.body)
            self.num_run += 1
        elif block.language in RUN:
            getattr(self, f"run_{block.language}")(block, place)
            self.num_run += 1

    def run_python(self, block: Block, place: str) -> None:
        code = compile("\n" * (block.line - 1) + block.body, place.partition(":")[0], "exec")
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(code, self.names)
        self.printed = printed.getvalue()

    def run_yaml(self, block: Block, place: str) -> None:
        path = Path("shown.yaml")
        path.write_text(block.body, encoding="utf-8")
        value = yaml.safe_load(block.body)
        fields = Config.model_fields
        if not isinstance(value, dict) or not set(value) <= set(fields):
            return
        if any(field.is_required() and name not in value for name, field in fields.items()):
            path.write_text(yaml.safe_dump(completed(value)), encoding="utf-8")
        load_config(path)

    def run_json(self, block: Block, place: str) -> None:
        for line in (
            [block.body] if block.body.startswith(("{\n", "[")) else block.body.splitlines()
        ):
            json.loads(line)

    def run_bash(self, block: Block, place: str) -> None:
        for command in commands_of(block.body):
            status, complaint = self.command(command)
            assert status == 0, f"{place}: `{command}` ended with {status}: {complaint}"

    def run_console(self, block: Block, place: str) -> None:
        """As bash; a complaint that is shown must be the one that comes."""
        for session in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
            command, _, output = session.partition("\n")
            shown = [line for line in output.splitlines() if line.startswith("dids: ")]
            status, complaint = self.command(command)
            assert status == (2 if shown else 0), f"{place}: `{command}`: {status}: {complaint}"
            for line in shown:
                assert line in complaint.replace(str(Path.cwd()), "…"), f"{place}: {complaint}"

    def command(self, command: str) -> tuple[int, str]:
        words = shlex.split(command, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            name, _, value = words.pop(0).partition("=")
            os.environ[name] = value
        program = Path(words[0]).name
        if program == "dids":
            self.provide(words[1:])
            status, printed, complaint = call(with_one_seed(words)[1:])
            return status, complaint or printed
        if program == "torchrun":
            script = next(word for word in words if word.endswith(".py"))
            on_ranks(Path.cwd() / "ranks", 2, run_script, script)
            return 0, ""
        if program == "python" and words[1].endswith(".py"):
            run_script(words[1])
            return 0, ""
        done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True)
        return done.returncode, done.stderr

    def provide(self, arguments: list[str]) -> None:
        """Make the configs and run folders that a command names small, or make them."""
        if arguments[0] in ("init", "import", "--help", "--version"):
            return
        given = [Path(word) for word in arguments[1:] if not word.startswith("-")]
        if given and given[0].suffix == ".yaml":
            self.provide_config(given[0])
        for path in given:
            if path.parts[:1] == ("runs",) and path.suffix == "" and not path.exists():
                copy_run(self.finished_run, path)

    def provide_config(self, path: Path) -> None:
        if path in self.small:
            return
        if not path.exists():
            config = {**tiny_config(Path()), "run": f"runs/{path.stem}"}
            path.write_text(yaml.safe_dump(config), encoding="utf-8")
        make_small(path)
        self.small.add(path)

    def save(self, name: str, body: str) -> None:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")
        if path.suffix == ".py":
            compile(body, name, "exec")
        elif "run" in yaml.safe_load(body):
            load_config(path)

    def parse(self, block: Block) -> None:
        """What can be said of a block that is not run."""
        if block.language == "python":
            compile(block.body, "page", "exec")
        elif block.language in ("yaml", "json"):
            yaml.safe_load(block.body)
        else:
            for command in commands_of(block.body):
                parse_command(shlex.split(command, comments=True))


def completed(sections: dict) -> dict:
    """Sections of a config, laid over those of a whole one; sources and tasks get paths."""
    base = tiny_config(Path())
    base["domains"]["number"] = "auto"  # a page may have more sources than it has domains
    chosen = {key: None for key in ("tokenizer", "model", "proxy") if key in sections}
    whole = laid_over({**base, **chosen}, sections)
    for name, source in whole["data"]["sources"].items():
        if isinstance(source, dict):
            whole["data"]["sources"][name] = {"path": "records.jsonl", **source}
    for name, task in whole["tasks"].items():
        whole["tasks"][name] = {"validation": "items.jsonl", "test": "others.jsonl", **task}
    return whole


def laid_over(old: object, new: object) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: laid_over(old.get(key), value) for key, value in new.items()}}


def commands_of(body: str) -> list[str]:
    """The commands of a block, a line each; of a session, those behind its prompts."""
    if body.startswith("$ "):
        body = "\n".join(line[2:] for line in body.splitlines() if line.startswith("$ "))
    lines = body.replace("\\\n", " ").splitlines()
    return [line for line in lines if shlex.split(line, comments=True)]


def parse_command(words: list[str]) -> None:
    """Refuse a ``dids`` command with wrong arguments, and a target that make does not have."""
    program = Path(words[0]).name
    if program == "dids":
        group = typer.main.get_command(cli.app)
        if not words[1].startswith("--"):
            group.commands[words[1]].make_context(words[1], words[2:])
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in (word for word in words[1:] if "=" not in word):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make has no '{target}'"
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks"):
        module = ROOT / words[2].replace(".", "/")
        assert (module / "__main__.py").exists() or module.with_suffix(".py").exists(), words[2]


def with_one_seed(words: list[str]) -> list[str]:
    """A contest with the first of its seeds: the others make it longer and show nothing else."""
    if "--seeds" not in words:
        return words
    place = words.index("--seeds") + 1
    return [*words[:place], str(parsed_seeds(words[place])[0]), *words[place + 1 :]]


def run_script(name: str) -> None:
    runpy.run_path(name, run_name="__main__")


def copy_run(source: Path, target: Path) -> None:
    """A finished run somewhere else: the folder keeps absolute paths, which are moved too."""
    shutil.copytree(source / "run", target)
    for path in target.rglob("*"):
        if path.suffix in (".json", ".yaml"):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(str(source / "run"), str(target.absolute())), "utf-8")


def run_page(page: Path, finished_run: Path) -> int:
    """Run a page's blocks in the current folder; how many were run."""
    under_way, blocks = PageRun(finished_run), blocks_of(page)
    shutil.copytree(ROOT / "examples", "examples")
    for number, block in enumerate(blocks):
        place = f"{page.name}:{block.line}"
        if block.language.startswith("{"):
            continue
        assert block.language in (*RUN, *SHOWN), f"{place}: say what language it is"
        if block.file_name is not None:
            later = "".join(b.body for b in blocks[number + 1 :] if b.reason is None)
            assert Path(block.file_name).stem in later, f"{place}: nothing uses this file"
        try:
            under_way.run(block, place)
        except Exception as error:
            raise AssertionError(f"{place}: {type(error).__name__}: {error}") from error
    return under_way.num_run
