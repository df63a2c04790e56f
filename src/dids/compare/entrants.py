"""Who takes part in a contest: a policy, its settings, and what it may override of the config."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from dids.config.section import Section
from dids.config.yaml_file import YamlFile
from dids.errors import InputError
from dids.mixture.own_policy import own_policy_class
from dids.mixture.policy import POLICIES, make_policy
from dids.mixture.policy_names import checked_policy_name

BASELINE = "uniform"
"""Who all are compared with; takes part in every contest."""
BEST_FIXED = "best-fixed"
"""The entrant that searches the best fixed mixture in hindsight: the other end of the gap."""
EVERYONE = "all"
"""Stands for every policy of the package that needs no settings."""


@dataclass(frozen=True, eq=False)
class Entrant:
    """One row of the contest's table.

    Attributes:
        name: What the table calls it.
        policy: As ``mixture.policy`` of a config.
        settings: Of the policy; what is not said here may be searched.
        impact: Fields of the config's section ``impact`` that are otherwise for this entrant.
    """

    name: str
    policy: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    impact: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder_name(self) -> str:
        """The name as a part of a path.

        Example:
            >>> Entrant("my_policy:Mine", "my_policy:Mine").folder_name
            'my_policy-Mine'
        """
        return re.sub(r"[^\w.%@+-]", "-", self.name)

    @property
    def searched(self) -> tuple[dict[str, Any], ...]:
        """The settings that a search may try, the first ones first.

        What the entrant's own settings say holds in all of them.
        """
        found: list[dict[str, Any]] = []
        searched: Sequence[Mapping[str, Any]]
        searched = getattr(policy_class(self.policy), "searched", ({},))
        for settings in searched:
            merged = {**settings, **self.settings}
            if merged not in found:
                found.append(merged)
        return tuple(found)


def policy_class(name: str) -> type[Any]:
    """The class behind the name of a policy."""
    return POLICIES[name] if name in POLICIES else own_policy_class(name)


def entrants_of(text: str) -> tuple[Entrant, ...]:
    """Those whom ``--policies`` names; the baseline first where it is not named.

    Args:
        text: Names of policies, ``all``, and YAML files of entrants, separated by commas.

    Raises:
        InputError: If a policy is unknown or cannot be made, or two entrants have one name.
    """
    found = [entrant for part in text.split(",") for entrant in _named(part.strip())]
    if not found:
        raise InputError("--policies names nobody; give names of policies, or all.")
    names = [entrant.name for entrant in found]
    if BASELINE not in names:
        found.insert(0, Entrant(BASELINE, BASELINE))
    folders: dict[str, Entrant] = {}
    for entrant in found:
        if entrant.folder_name in folders:
            other = folders[entrant.folder_name].name
            same = "" if other == entrant.name else f" (as {other})"
            raise InputError(
                f"--policies: {entrant.name} takes part twice{same}; give the second another name "
                "in a file of entrants."
            )
        folders[entrant.folder_name] = entrant
    for entrant in found:
        check_settings(entrant, entrant.settings)
    return tuple(found)


def check_settings(entrant: Entrant, settings: Mapping[str, Any]) -> None:
    """Refuse an entrant whose policy cannot be made with these settings.

    Raises:
        InputError: With the entrant's name.
    """
    try:
        make_policy(entrant.policy, **settings)
    except InputError as error:
        raise InputError(f"entrant {entrant.name}: {error}") from None


class _EntrantSection(Section):
    policy: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    impact: dict[str, Any] = Field(default_factory=dict)


def _said(value: object) -> object:
    return {} if value is None else value


class _EntrantsFile(Section):
    entrants: Annotated[
        dict[str, Annotated[_EntrantSection, BeforeValidator(_said)]], Field(min_length=1)
    ]


def _named(part: str) -> Iterator[Entrant]:
    if part == EVERYONE:
        yield from (Entrant(name, name) for name in POLICIES if _needs_no_settings(name))
    elif part.endswith((".yaml", ".yml")):
        yield from _in_file(Path(part))
    elif part:
        try:
            yield Entrant(part, checked_policy_name(part))
        except ValueError as error:
            raise InputError(f"--policies: '{part}' {error}.") from None


def _in_file(path: Path) -> Iterator[Entrant]:
    advice = "docs/compare.md shows one"
    file = YamlFile.read(path, kind="file of entrants", advice=advice)
    for name, said in file.checked(_EntrantsFile, file.raw).entrants.items():
        policy = said.policy or name
        try:
            checked_policy_name(policy)
        except ValueError as error:
            where = file.where(("entrants", name, "policy"))
            raise InputError(f"{where}: policy '{policy}' {error}.") from None
        yield Entrant(name, policy, said.settings, said.impact)


def _needs_no_settings(name: str) -> bool:
    try:
        make_policy(name)
    except InputError:
        return False
    return True
