"""The stages of a run, one file each, in the order of the data's path.

A stage writes its result into the run folder and returns the facts to record about it.
"""

from collections.abc import Callable
from typing import Any

from dids.run.stages import (
    check,
    domains,
    evaluate,
    features,
    impact,
    proxy,
    report,
    search,
    tokenizer,
    tokens,
    train,
)
from dids.run.workspace import Workspace

STAGES: dict[str, Callable[[Workspace], dict[str, Any]]] = {
    "check": check.run,
    "tokenizer": tokenizer.run,
    "tokens": tokens.run,
    "proxy": proxy.run,
    "features": features.run,
    "domains": domains.run,
    "impact": impact.run,
    "search": search.run,
    "train": train.run,
    "control": train.run_control,
    "evaluate": evaluate.run,
    "report": report.run,
}

ON_ALL_RANKS = frozenset({"search", "train", "control"})
"""Stages that every rank runs; the others are the first one's."""
