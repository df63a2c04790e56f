"""The page of all policies, read off their docstrings and signatures."""

import inspect
import json
import re
import textwrap

from dids.mixture.needs import needs_of
from dids.mixture.policy import POLICIES
from dids.mixture.policy_names import FAMILIES

INTRODUCTION = {
    "ours": "Fisher-guided impact, and what becomes of it. `dids` is the default.",
    "fixed": "Mixtures that do not look at the run.",
    "loss-driven": "Mixtures by the losses of what is trained on.",
    "gradient-driven": "Mixtures by inner products of gradients, or by what short pieces of "
    "training do for the tasks.",
    "run-driven": "Mixtures found by trials before the run.",
    "domain adaptation": "Sampling ideas of domain adaptation, in terms of domains and tasks of "
    "language data.",
}
_SECTION = re.compile(r"^(Args|Note|Example|Attributes|Raises):$", re.MULTILINE)


def policies_page() -> str:
    """The page: a section for each family, in it one for each policy."""
    parts = [
        "# Policies",
        "The rule that makes the next mixture is one word of the config, `mixture.policy`, and its "
        "settings are `mixture.settings`. [`dids compare`](compare.md) lets them compete on your "
        "data; [one of your own](own-policy.md) is one file. What each of them may look at, and "
        "what that costs, says [the same page](own-policy.md#ask-for-more).",
    ]
    for family, names in FAMILIES.items():
        parts.append(f"## {family[0].upper()}{family[1:]}\n\n{INTRODUCTION[family]}")
        parts += [_policy(name) for name in names]
    return "\n\n".join(parts) + "\n"


def _policy(name: str) -> str:
    """A policy's rule, source, settings and notes."""
    policy = POLICIES[name]
    sections = _sections(inspect.cleandoc(policy.__doc__ or ""))
    parts = [f"### `{name}`", _prose(sections["Rule"])]
    described = _arguments(sections.get("Args", ""))
    rows = [
        f"| `{parameter.name}` | `{json.dumps(parameter.default)}` | {described[parameter.name]} |"
        for parameter in inspect.signature(policy).parameters.values()
    ]
    if rows:
        parts.append("\n".join(["| setting | default | meaning |", "|---|---|---|", *rows]))
    if "Note" in sections:
        parts.append(_prose(textwrap.dedent(sections["Note"])))
    parts.append(f"Looks at: {_looks_at(name)}.")
    return "\n\n".join(parts)


def _looks_at(name: str) -> str:
    policy = POLICIES[name]
    needs = needs_of(policy)
    seen = {
        "impact": policy.needs_impact and needs.metric is None,
        "impact in the plain metric": policy.needs_impact and needs.metric == "plain",
        "the tasks' losses within rounds": needs.task_losses,
        "the domains' training losses": needs.training_losses,
        "a reference model's losses": needs.reference,
        "the model's confidence": needs.confidence,
        "gradient features": needs.features,
        "Lie brackets": needs.brackets,
        "trials before the run": isinstance(policy, type) and hasattr(policy, "search"),
    }
    words = [what for what, is_seen in seen.items() if is_seen] or ["nothing that costs"]
    if needs.every_steps is not None:
        words.append(
            f"asked every {needs.every_steps} steps".replace("every 1 steps", "every step")
        )
    return "; ".join(words)


def _sections(docstring: str) -> dict[str, str]:
    names = ["Rule", *_SECTION.findall(docstring)]
    bodies = _SECTION.split(docstring)[::2]
    return {name: body.strip("\n") for name, body in zip(names, bodies, strict=True)}


def _arguments(body: str) -> dict[str, str]:
    """What an ``Args`` section says of each argument, in one line."""
    found = re.findall(r"^(\w+): (.*(?:\n[ \n].*)*)", textwrap.dedent(body), re.MULTILINE)
    return {name: _prose(text).replace("\n", " ").replace("|", "\\|") for name, text in found}


def _prose(text: str) -> str:
    """A docstring's text as Markdown."""
    paragraphs = text.strip().replace("``", "`").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
