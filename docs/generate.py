"""Writes what the documentation says twice: config fields, commands' help, and names of the API.

``python docs/generate.py`` rewrites ``config.md`` between its marks, ``cli.md`` and ``api/``; a
test compares them with what this would write.
"""

import ast
import inspect
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import policy_page
import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import dids
from dids.cli import app
from dids.config import schema

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- fields: python docs/generate.py -->", "<!-- /fields -->"
API_PACKAGES = (
    "data", "check", "gradients", "alignment", "domains", "impact", "mixture", "sampling",
    "steering", "training", "evaluation", "report", "export", "run", "audit", "compare",
    "config",
)  # fmt: skip
# Where a package exports nothing, these come first.
API_FIRST = {
    "data": ("records", "sources", "readers", "rendering", "dataset"),
    "impact": ("sample_impact", "metric", "matrices", "estimate"),
    "mixture": ("policy", "observation", "limits", "needs", "search"),
}
# docs/config.md says the same of its fields, in tables.
ELSEWHERE = ("dids.config.schema",)
EXCLUDED_MEMBERS = {
    "dids.sampling.loader": "dataset, batch_size, num_workers, pin_memory, drop_last, timeout, "
    "sampler, pin_memory_device, prefetch_factor",
}
COMMANDS = (
    "init", "check", "run", "features", "domains", "impact", "audit", "train", "evaluate", "report",
    "compare", "export", "import", "watch",
)  # fmt: skip

# What the schema leaves to the name, said in full.
MEANINGS = {
    "seed": "Of everything random: order of samples, projection, k-means, weights of new models.",
    "data.sources.NAME.format": "How the files are read. null: by each file's ending.",
    "data.on_bad_record": "`skip` leaves bad records out; the report counts and lists them.",
    "tasks.NAME.validation": "As a source's path. What the run follows: impact, potential.",
    "tasks.NAME.test": "As a source's path. Looked at once, by the trained models. null: half of "
    "the validation records, by what they say, are kept for it; `NAME: PATH` says the same.",
    "tasks.NAME.format": "As of a source.",
    "tokenizer.train.vocab_size": "Size of the byte-level BPE vocabulary, trained on the sources.",
    "model.dtype": "Of the weights.",
    "proxy.name": "As of `model`. Neither name nor config: the model itself, at its start.",
    "proxy.config": "As of `model`.",
    "proxy.dtype": "Of the weights.",
    "features.dim": "Dimensions of a gradient feature.",
    "features.projection": "`exact` keeps more and costs about a training step, `one-sided` less.",
    "domains.number": "`auto` doubles it while held-out samples gain; `sources` keeps the sources.",
    "domains.within": "Cluster inside each source, or over `all` samples.",
    "mixture.policy": "The rule that makes the next mixture: [one of these](policies.md), one that "
    "an installed package offers, or [a class of your own](own-policy.md), `module:Class`.",
    "mixture.rounds": "Equal in tokens; at the end of each but the last the next mixture is made.",
    "evaluation.batch_size": "Samples in one forward pass.",
}


def config_tables() -> str:
    """The tables of all fields, a heading a section."""
    sections: dict[str, list[str]] = {}
    for path, field, owner in _fields(schema.Config, ""):
        section = path.split(".")[0] if "." in path else "The run"
        meaning = MEANINGS.get(path) or _docstring(owner, path.split(".")[-1])
        if not meaning:
            raise ValueError(f"docs/generate.py: say in MEANINGS what {path} is for.")
        form = described(field.annotation, field.metadata)
        cells = [f"`{path}`", form, _default(field), meaning.replace("\n", " ")]
        sections.setdefault(section, []).append("| " + " | ".join(cells) + " |")
    parts = []
    for section, rows in sections.items():
        title = section if section == "The run" else f"`{section}`"
        head = "| field | form | default | meaning |\n|---|---|---|---|\n"
        parts.append(f"## {title}\n\n{head}" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def config_page(page: str) -> str:
    """A page with the tables between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{config_tables()}\n{END}{after}"


def cli_page() -> str:
    """The page of all commands."""
    parts = [
        "# Commands",
        "Every command that takes a RUN_FOLDER also takes a config, and does the stages that are "
        "still missing before it. `python -m dids` is the same as `dids`. A mistake in what you "
        "gave is one sentence on standard error and exit status 2; a run that is stopped, by "
        "Ctrl-C or a kill, goes on with the same command.",
        f"```text\n$ dids --help\n{_help()}```",
    ]
    for command in COMMANDS:
        parts.append(f"## `dids {command}`")
        parts.append(f"```text\n$ dids {command} --help\n{_help(command)}```")
    return "\n\n".join(parts) + "\n"


def api_pages() -> dict[str, str]:
    """Pages of the API by file name: every module of every package, those it exports first."""
    pages = {}
    for package in API_PACKAGES:
        parts = [f"# `dids.{package}`", _summary(f"dids.{package}")]
        for module in _modules(package):
            excluded = EXCLUDED_MEMBERS.get(module)
            options = [
                ":members:",
                ":ignore-module-all:",
                *([f":exclude-members: {excluded}"] if excluded else []),
            ]
            lines = "\n   ".join([f".. automodule:: {module}", *options])
            name = module.removeprefix(f"dids.{package}.")
            parts.append(f"## `{name}`\n\n```{{eval-rst}}\n{lines}\n```")
        pages[f"{package}.md"] = "\n\n".join(parts) + "\n"
    return pages


def _modules(package: str) -> list[str]:
    """A package's modules, in the order in which it imports names from them, then by name."""
    folder = Path(dids.__file__).parent / package
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    exported = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    exported += [f"dids.{package}.{name}" for name in API_FIRST.get(package, ())]
    found = sorted(
        ".".join(("dids", *path.relative_to(folder.parent).with_suffix("").parts))
        for path in folder.rglob("*.py")
        if path.name != "__init__.py"
    )
    ordered = dict.fromkeys([module for module in exported if module in found] + found)
    return [module for module in ordered if module not in ELSEWHERE]


def _summary(package: str) -> str:
    """What a package says of itself."""
    path = Path(dids.__file__).parent / package.rpartition(".")[2] / "__init__.py"
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return said.replace("``", "`")


def described(annotation: Any, metadata: Any = ()) -> str:
    """The form of a value in words.

    Example:
        >>> described(Annotated[int, schema.Field(ge=1)] | Literal["auto"])
        'integer ≥ 1, `auto`'
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extras = get_args(annotation)
        flat = [m for e in extras for m in (e.metadata if isinstance(e, FieldInfo) else [e])]
        return described(inner, flat)
    if origin in (Union, types.UnionType):
        return ", ".join(described(argument) for argument in get_args(annotation))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    words = {int: "integer", float: "number", bool: "true or false", str: "text"}
    words |= {type(None): "null", dict: "mapping"}
    for noun in (m for m in metadata if isinstance(m, str)):
        words |= {tuple: f"{noun} or list of {noun}s", str: noun, float: noun}
    signs = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
    bounds = [
        f"{signs[type(m)][0]} {_shown(getattr(m, signs[type(m)][1]))}"
        for m in metadata
        if type(m) in signs
    ]
    return " ".join([words[origin or annotation], *([" and ".join(bounds)] if bounds else [])])


def _shown(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def _fields(
    model: type[BaseModel], prefix: str
) -> Iterator[tuple[str, FieldInfo, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        section = _section(field.annotation)
        if section is None:
            yield path, field, model
        elif get_origin(field.annotation) is dict:
            yield from _fields(section, f"{path}.NAME.")
        else:
            yield from _fields(section, f"{path}.")


def _section(annotation: Any) -> type[schema.Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, schema.Section):
        return annotation
    found = (_section(argument) for argument in get_args(annotation))
    return next((section for section in found if section is not None), None)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    words = {None: "null", True: "true", False: "false"}
    if isinstance(value, bool) or value is None:
        return f"`{words[value]}`"
    is_long = isinstance(value, int) and value >= 10_000
    return f"`{value:_}`" if is_long else f"`{value}`"


def _docstring(model: type[BaseModel], name: str) -> str:
    """The string that stands under a field, in its model or one that this extends."""
    for owner in (model for model in model.mro() if issubclass(model, schema.Section)):
        body = ast.parse(inspect.getsource(owner)).body[0].body  # type: ignore[attr-defined]
        for statement, after in pairwise(body):
            is_field = isinstance(statement, ast.AnnAssign) and statement.target.id == name
            if is_field and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                said = inspect.cleandoc(after.value.value)
                return said.replace("``", "`").replace("None:", "null:")
    return ""


def _help(name: str | None = None) -> str:
    group = typer.main.get_command(app)
    context = group.context_class(group, info_name="dids", terminal_width=80)
    if name is None:
        text = group.get_help(context)
    else:
        command = group.commands[name]  # type: ignore[attr-defined]
        text = command.get_help(
            group.context_class(command, info_name=name, parent=context, terminal_width=80)
        )
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


if __name__ == "__main__":
    (FOLDER / "cli.md").write_text(cli_page(), encoding="utf-8")
    page = FOLDER / "config.md"
    page.write_text(config_page(page.read_text(encoding="utf-8")), encoding="utf-8")
    (FOLDER / "policies.md").write_text(policy_page.policies_page(), encoding="utf-8")
    for name, text in api_pages().items():
        (FOLDER / "api" / name).write_text(text, encoding="utf-8")
