"""The table of policies: one word in the config is one entry here, or ``module:Class``.

What is behind a name is not loaded here: a config is checked by its words.
"""

import difflib
import re
from importlib.metadata import EntryPoint, entry_points

_POLICIES = "dids.mixture.policies"

FAMILIES = {
    "ours": {
        "dids": f"{_POLICIES}.dids:Dids",
        "dids-joint": f"{_POLICIES}.dids_joint:DidsJoint",
        "dids-paper": f"{_POLICIES}.dids_paper:DidsPaper",
        "dids-descent": f"{_POLICIES}.dids_descent:DidsDescent",
        "dids-released": f"{_POLICIES}.dids_released:DidsReleased",
    },
    "fixed": {
        "uniform": f"{_POLICIES}.uniform:Uniform",
        "proportional": f"{_POLICIES}.proportional:Proportional",
        "temperature": f"{_POLICIES}.temperature:Temperature",
        "weights": f"{_POLICIES}.weights:Weights",
        "schedule": f"{_POLICIES}.schedule:Schedule",
    },
    "loss-driven": {
        "loss-softmax": f"{_POLICIES}.loss_softmax:LossSoftmax",
        "odm": f"{_POLICIES}.odm:OnlineDataMixing",
        "ado": f"{_POLICIES}.ado:AdaptiveDataOptimization",
        "doremi": f"{_POLICIES}.doremi:DoReMi",
    },
    "gradient-driven": {
        "doge": f"{_POLICIES}.doge:Doge",
        "dga": f"{_POLICIES}.dga:Dga",
        "r-and-b": f"{_POLICIES}.r_and_b:RAndB",
        "aioli": f"{_POLICIES}.aioli:Aioli",
        "skill-it": f"{_POLICIES}.skill_it:SkillIt",
    },
    "run-driven": {
        "regmix": f"{_POLICIES}.regmix:RegMix",
        "best-fixed": f"{_POLICIES}.best_fixed:BestFixed",
    },
    "domain adaptation": {
        "distance-bandit": f"{_POLICIES}.distance_bandit:DistanceBandit",
        "commute": f"{_POLICIES}.commute:Commute",
        "confidence": f"{_POLICIES}.confidence:Confidence",
        "osmosis": f"{_POLICIES}.osmosis:Osmosis",
        "strata": f"{_POLICIES}.strata:Strata",
        "anchors": f"{_POLICIES}.anchors:Anchors",
    },
}
"""The table: by family, then by name, ``module:Class``."""

BUILT_IN = {name: where for family in FAMILIES.values() for name, where in family.items()}
"""The policies of this package by name: ``module:Class``."""

ENTRY_POINT_GROUP = "dids.policies"
"""Where an installed package offers policies of its own by name."""

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def installed_policies() -> dict[str, EntryPoint]:
    """What installed packages offer, by name; a built-in name stays the built-in policy's."""
    return {
        entry.name: entry
        for entry in entry_points(group=ENTRY_POINT_GROUP)
        if entry.name not in BUILT_IN
    }


def is_reference(name: str) -> bool:
    """Whether a name has the form ``module:Class``.

    Example:
        >>> is_reference("my_package.my_policy:MyPolicy"), is_reference("dids")
        (True, False)
    """
    return _REFERENCE.fullmatch(name) is not None


def checked_policy_name(name: str) -> str:
    """A name that may be a policy's; what is behind ``module:Class`` is not looked at.

    Raises:
        ValueError: If no policy can have this name.
    """
    if name in BUILT_IN or is_reference(name):
        return name
    known = [*BUILT_IN, *installed_policies()]
    if name in known:
        return name
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f" (the nearest is {nearest[0]})" if nearest else ""
    raise ValueError(f"must be {', '.join(known)}, or module:Class for a policy of your own{hint}")
