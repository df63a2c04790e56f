"""A sampler's place in its stream as plain JSON values: small, whatever the length of the run.

Axis letters: k domains.
"""

from typing import Any

import numpy as np

from dids.sampling.mixture_log import MixtureLog
from dids.sampling.progress import Anchor, Progress

_VERSION = 2


def saved_state(progress: Progress, log: MixtureLog) -> dict[str, Any]:
    """What planning goes on from, and the mixtures from that step on.

    Args:
        progress: Anchored for the step that it is carried into.
        log: The mixtures so far.
    """
    return {
        "version": _VERSION,
        "step": progress.step,
        "draws": progress.drawn_k.tolist(),
        "tokens": progress.tokens_k.tolist(),
        "anchor": {
            "draws": progress.anchor.drawn_k.tolist(),
            "credits": progress.anchor.credit_k.tolist(),
        },
        "log": log.since(progress.step).to_json(),
    }


def loaded_state(state: dict[str, Any]) -> tuple[Progress, MixtureLog]:
    """What ``saved_state`` was made from.

    Version 1 had the whole log, and the credits at its step in the place of an anchor: a new anchor
    begins there.

    Raises:
        ValueError: If the version is not known.
    """
    if state["version"] not in (1, _VERSION):
        raise ValueError(
            f"the sampler was saved with version {state['version']}, but this one knows versions "
            f"up to {_VERSION}."
        )
    step = int(state["step"])
    log = MixtureLog.from_json(state["log"]).since(step)
    if state["version"] == 1:
        anchor = _anchor(state, np.zeros(log.num_domains))
    else:
        anchor = _anchor(state["anchor"], log.mixture(step))
    drawn_k, tokens_k = (np.array(state[name], dtype=np.int64) for name in ("draws", "tokens"))
    return Progress(step, anchor, drawn_k, tokens_k), log


def _anchor(saved: dict[str, Any], mixture_k: np.ndarray) -> Anchor:
    return Anchor(
        np.array(saved["draws"], dtype=np.int64),
        np.array(saved["credits"], dtype=np.float64),
        mixture_k,
    )
