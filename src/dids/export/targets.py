"""The table of all targets."""

from dids.errors import InputError
from dids.export import (
    axolotl,
    interleave,
    levanter,
    litdata,
    llamafactory,
    megatron,
    mosaicml,
    ms_swift,
    nemo,
    olmo_core,
    torchtitan,
    trl,
    weights_json,
)
from dids.export.target import Target

_MODULES = (
    llamafactory, axolotl, ms_swift, trl, interleave, megatron, nemo, olmo_core, torchtitan,
    litdata, mosaicml, levanter, weights_json,
)  # fmt: skip

TARGETS: dict[str, Target] = {module.TARGET.name: module.TARGET for module in _MODULES}
"""Trainers by name."""

DATA_FORMATS = ("jsonl", "parquet")
"""Targets that are the regrouped records themselves."""


def find_target(name: str) -> Target:
    """The target of a name.

    Raises:
        InputError: If there is none; the sentence lists them.
    """
    if name not in TARGETS:
        known = ", ".join([*TARGETS, *DATA_FORMATS])
        raise InputError(f"'{name}' is no target; the targets are {known}.")
    return TARGETS[name]
