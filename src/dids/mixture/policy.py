"""The table of policies: one word in the config is one entry here."""

import difflib
import inspect
from typing import Any

from dids.errors import InputError
from dids.mixture.descent_policy import DidsDescent
from dids.mixture.dids_policy import Dids
from dids.mixture.fixed_policies import Proportional, Uniform
from dids.mixture.joint_policy import DidsJoint
from dids.mixture.observation import Observation, Policy, PolicyDecision
from dids.mixture.paper_policy import DidsPaper

__all__ = ["POLICIES", "Observation", "Policy", "PolicyDecision", "make_policy"]

POLICIES: dict[str, type[Policy]] = {
    "dids": Dids,
    "dids-joint": DidsJoint,
    "dids-paper": DidsPaper,
    "dids-descent": DidsDescent,
    "uniform": Uniform,
    "proportional": Proportional,
}


def make_policy(name: str, **settings: Any) -> Policy:
    """A policy by name.

    Args:
        name: A key of ``POLICIES``.
        settings: The policy's own settings, by their names.

    Raises:
        InputError: If there is no such policy or it has no such setting.

    Example:
        >>> make_policy("dids", ema=0.8).needs_impact
        True
    """
    if name not in POLICIES:
        raise InputError(f"mixture.policy: there is no policy '{name}'; {_nearest(name, POLICIES)}")
    known = inspect.signature(POLICIES[name]).parameters
    for setting in settings:
        if setting not in known:
            raise InputError(
                f"mixture.settings.{setting}: policy '{name}' has no such setting; "
                f"{_nearest(setting, known)}"
            )
    return POLICIES[name](**settings)


def _nearest(word: str, known: Any) -> str:  # noqa: ANN401
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known) or 'none'}."
