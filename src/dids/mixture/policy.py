"""Policies made by name: one of the table `BUILT_IN`, an entry point's, or ``module:Class``."""

import difflib
import importlib
import inspect
import math
from typing import Any, get_type_hints

from pydantic import PydanticSchemaGenerationError

from dids.errors import InputError
from dids.mixture.needs import Needs, needs_of
from dids.mixture.observation import (
    FeatureSamples,
    Observation,
    Policy,
    PolicyDecision,
    TrainedOn,
)
from dids.mixture.own_policy import checked_policy, own_policy_class
from dids.mixture.policy_names import BUILT_IN, installed_policies, is_reference
from dids.mixture.search import Searches, Trial, Trials
from dids.mixture.typed_value import typed_value

__all__ = [
    "POLICIES",
    "FeatureSamples",
    "Needs",
    "Observation",
    "Policy",
    "PolicyDecision",
    "Searches",
    "TrainedOn",
    "Trial",
    "Trials",
    "make_policy",
    "needs_of",
]


def _built_in(reference: str) -> type[Any]:
    module, _, name = reference.partition(":")
    policy: type[Any] = getattr(importlib.import_module(module), name)
    return policy


POLICIES: dict[str, type[Any]] = {name: _built_in(BUILT_IN[name]) for name in BUILT_IN}
"""The policies of this package by name."""


def make_policy(name: str, **settings: Any) -> Policy:
    """A policy by name.

    Args:
        name: A key of ``POLICIES``, the name of an entry point in the group ``dids.policies``, or
            ``module:Class``.
        settings: The policy's own settings, by their names.

    Raises:
        InputError: If there is no such policy, or its settings are not these.

    Example:
        >>> make_policy("dids", ema=0.8).needs_impact
        True
        >>> make_policy("dids.mixture.policies.uniform:Uniform").needs_impact
        False
    """
    if name in POLICIES:
        built: Policy = _built(POLICIES[name], name, settings)
        return built
    installed = installed_policies()
    if not is_reference(name) and name not in installed:
        raise InputError(
            f"mixture.policy: there is no policy '{name}'; "
            f"{_nearest(name, [*POLICIES, *installed])}"
        )
    return checked_policy(name, _built(own_policy_class(name), name, settings))


def _built(policy: type[Any], name: str, settings: dict[str, Any]) -> Any:  # noqa: ANN401
    try:
        parameters = inspect.signature(policy).parameters.values()
    except ValueError:  # a class written in C: it says nothing of its arguments
        parameters = {}.values()
    known = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters)
    for setting in settings:
        if setting not in known and not takes_any:
            raise InputError(
                f"mixture.settings.{setting}: policy '{name}' has no such setting; "
                f"{_nearest(setting, known)}"
            )
    typed = {key: _typed(policy, name, key, value) for key, value in settings.items()}
    try:
        return policy(**typed)
    except (TypeError, ValueError) as error:
        raise InputError(f"mixture.settings: policy '{name}' cannot be made: {error}") from error


def _typed(policy: type[Any], name: str, setting: str, value: Any) -> Any:  # noqa: ANN401
    """A value as the policy annotates it, where that says something."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"mixture.settings.{setting} must be a finite number, got {value}.")
    try:
        hint = get_type_hints(policy.__init__).get(setting, Any)
        return typed_value(value, hint, f"mixture.settings.{setting}: policy '{name}'")
    except (NameError, TypeError, PydanticSchemaGenerationError):  # of a policy from outside
        return value


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known) or 'none'}."
