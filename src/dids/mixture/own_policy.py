"""Policies from outside this package: found by ``module:Class`` or by an entry point, and checked.

Axis letters: k domains.
"""

import difflib
import importlib
import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dids.domains.regrouping import Regrouping
from dids.errors import InputError
from dids.mixture.needs import needs_of
from dids.mixture.observation import Observation, PolicyDecision
from dids.mixture.policy_names import installed_policies, is_reference
from dids.mixture.search import Searches, Trials

_CONTRACT = ("needs_impact", "mixture", "state_dict", "load_state_dict")


class OwnPolicy:
    """A policy from outside, held to the contract: a slip is one sentence, and nothing is drawn.

    Args:
        name: What the config calls it.
        policy: What the name stands for, with its settings.

    Raises:
        InputError: If it lacks a part of a policy.
    """

    def __init__(self, name: str, policy: Any) -> None:  # noqa: ANN401
        missing = [part for part in _CONTRACT if not hasattr(policy, part)]
        if missing:
            raise InputError(
                f"mixture.policy: {name} lacks {', '.join(missing)}; a policy is a class with "
                f"{', '.join(_CONTRACT)}."
            )
        self.name = name
        self.policy = policy
        self.needs_impact = bool(policy.needs_impact)
        self.needs = needs_of(policy)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The policy's answer.

        Raises:
            InputError: If it is no decision, no mixture within the limits, or has an explanation
                that JSON cannot keep.
        """
        decision = self.policy.mixture(observation)
        if not isinstance(decision, PolicyDecision):
            raise InputError(
                f"mixture.policy: {self.name} answered a {type(decision).__name__}; a "
                "PolicyDecision(mixture, explanation) is what it must give."
            )
        mixture_k = np.array(decision.mixture, dtype=np.float64)
        if mixture_k.shape != observation.sizes_k.shape:
            raise InputError(
                f"mixture.policy: {self.name} answered weights of shape {mixture_k.shape}; there "
                f"must be one for each of the {len(observation.sizes_k)} domains."
            )
        if not observation.limits.allows(mixture_k):
            shown = np.array2string(mixture_k, precision=4, threshold=8, separator=", ")
            raise InputError(
                f"mixture.policy: {self.name} answered {shown} (sum {mixture_k.sum():.6g}) in "
                f"round {observation.round}, which breaks the run's floors and caps or is no "
                "mixture; observation.limits.project(...) gives the nearest one that keeps them."
            )
        self._checked_json("explanation", decision.explanation)
        return PolicyDecision(mixture_k, decision.explanation)

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains.

        Raises:
            InputError: If the policy cannot.
        """
        if not hasattr(self.policy, "regroup"):
            raise InputError(
                f"mixture.policy: {self.name} has no regroup(regrouping), so domains cannot be "
                "added, split or merged while a run with it goes on."
            )
        self.policy.regroup(regrouping)

    def state_dict(self) -> dict[str, Any]:
        """What the policy remembers.

        Raises:
            InputError: If JSON cannot keep it.
        """
        state: dict[str, Any] = self.policy.state_dict()
        self._checked_json("state_dict()", state)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self.policy.load_state_dict(state)

    def _checked_json(self, what: str, value: Any) -> None:  # noqa: ANN401
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"mixture.policy: {what} of {self.name} must hold plain JSON values, such as "
                f"float(x) and x.tolist(), but: {error}."
            ) from None


class OwnSearchingPolicy(OwnPolicy):
    """A policy from outside that makes trials before the run."""

    def search(self, trials: Trials) -> None:
        """Let the policy make its trials."""
        self.policy.search(trials)


def checked_policy(name: str, policy: Any) -> OwnPolicy:  # noqa: ANN401
    """A policy from outside, held to the contract.

    Raises:
        InputError: If it lacks a part of a policy.
    """
    searches = isinstance(policy, Searches)
    return OwnSearchingPolicy(name, policy) if searches else OwnPolicy(name, policy)


def own_policy_class(name: str) -> type[Any]:
    """The class behind ``module:Class`` or the name of an entry point.

    Modules are looked for in the current folder first, then among installed packages.

    Raises:
        InputError: If it cannot be imported or is no class.
    """
    reference = name if is_reference(name) else installed_policies()[name].value
    module_name, _, attribute = reference.partition(":")
    with _current_folder_importable():
        module = _imported(module_name, name)
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        where = getattr(module, "__file__", None) or module_name
        raise InputError(f"mixture.policy: {where} has no '{attribute}'{hint}")
    found = getattr(module, attribute)
    if not isinstance(found, type):
        raise InputError(
            f"mixture.policy: {name} is no class; a policy is a class with {', '.join(_CONTRACT)}."
        )
    return found


def _imported(module_name: str, name: str) -> Any:  # noqa: ANN401
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(
                f"mixture.policy: {name}: there is no module '{error.name}', neither in "
                f"{Path.cwd()} nor among the installed packages."
            ) from None
        raise InputError(_import_failure(name, error)) from error
    except Exception as error:
        raise InputError(_import_failure(name, error)) from error


def _import_failure(name: str, error: Exception) -> str:
    """The sentence, with the line of the file that failed."""
    if isinstance(error, SyntaxError):
        where = f"{error.filename}, line {error.lineno}"
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename}, line {last.lineno}"
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"mixture.policy: {name} cannot be imported: {where}: {type(error).__name__}: {message}."


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """As ``python -m`` has it; a console script alone does not look there."""
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    # A file written a moment ago is not in the caches of the finders.
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
