"""A sampler's place in its stream as JSON values: a few hundred bytes, however long the run.

They are

- ``version``: 3.
- ``step``: the one to go on with.
- ``draws``: samples drawn from each domain so far.
- ``tokens``: of these; left out where all samples are equally long.
- ``credits``: what each domain was owed where the mixture in force began, in ten-thousandths of a
  sample, or of a token; a list of numbers where that would not be exact, left out where nobody was
  owed anything.
- ``since``: samples drawn since then; left out where that was the mixture's first step.
- ``log``: first step and probabilities of the mixture in force and of those that are set for later;
  probabilities as numbers, or as bits of float64 in base64 where that is shorter.

Version 2 had lists of numbers in the place of texts, and the draws where the mixture began, which
follow from what is here. Version 1 had credits at its own step in the place of an anchor.

Axis letters: k domains.
"""

from typing import Any

import numpy as np
from jaxtyping import Int64

from dids.sampling.mixture_log import MixtureLog
from dids.sampling.progress import Anchor, Progress
from dids.sampling.short_numbers import whole_numbers, whole_numbers_text
from dids.sampling.step_planner import CREDIT_DECIMALS, StepPlanner

_VERSION = 3


def saved_state(progress: Progress, log: MixtureLog, planner: StepPlanner) -> dict[str, Any]:
    """What planning goes on from, and the mixtures from that step on.

    Args:
        progress: Anchored for the step that it is carried into.
        log: The mixtures so far.
        planner: Of the steps.
    """
    log, anchor = log.since(progress.step), progress.anchor
    state: dict[str, Any] = {
        "version": _VERSION,
        "step": progress.step,
        "draws": whole_numbers_text(progress.drawn_k),
    }
    if planner.domains.only_length is None:
        state["tokens"] = whole_numbers_text(progress.tokens_k)
    if anchor.credit_k.any():
        state["credits"] = _saved_credits(anchor.credit_k)
    since = int((progress.drawn_k - anchor.drawn_k).sum())
    if since != planner.drawn_since(log.entries[0][0], progress.step):
        state["since"] = since
    state["log"] = log.to_json()
    return state


def loaded_state(state: dict[str, Any], planner: StepPlanner) -> tuple[Progress, MixtureLog]:
    """What ``saved_state`` was made from.

    Raises:
        ValueError: If the version is not known, or tokens are missing.
    """
    if state["version"] not in (1, 2, _VERSION):
        raise ValueError(
            f"the sampler was saved with version {state['version']}, but this one knows versions "
            f"up to {_VERSION}."
        )
    step = int(state["step"])
    log = MixtureLog.from_json(state["log"]).since(step)
    if state["version"] < _VERSION:
        return _loaded_before_3(state, log), log
    drawn_k = whole_numbers(state["draws"])
    credit_k = np.zeros(log.num_domains)
    if "credits" in state:
        credit_k = _loaded_credits(state["credits"])
    since = state.get("since", planner.drawn_since(log.entries[0][0], step))
    given_k = planner.given(drawn_k, credit_k, log.mixture(step), since)
    anchor = Anchor(drawn_k - given_k, credit_k, log.mixture(step))
    return Progress(step, anchor, drawn_k, _loaded_tokens(state, drawn_k, planner)), log


def _saved_credits(credit_k: np.ndarray) -> str | list[float]:
    text = whole_numbers_text(np.rint(credit_k * 10**CREDIT_DECIMALS).astype(np.int64))
    # Of earlier versions, where domains were regrouped, they may have more decimals.
    is_exact = np.array_equal(_loaded_credits(text), credit_k)
    return text if is_exact else list(credit_k.tolist())


def _loaded_credits(saved: str | list[float]) -> np.ndarray:
    if isinstance(saved, str):
        return np.asarray(whole_numbers(saved) / 10**CREDIT_DECIMALS)
    return np.array(saved, dtype=np.float64)


def _loaded_tokens(
    state: dict[str, Any], drawn_k: np.ndarray, planner: StepPlanner
) -> Int64[np.ndarray, " k"]:
    if "tokens" in state:
        return whole_numbers(state["tokens"])
    if planner.domains.only_length is None:
        raise ValueError(
            "the sampler was saved with samples that were all equally long, but those of this "
            "one are not."
        )
    return drawn_k * planner.domains.only_length


def _loaded_before_3(state: dict[str, Any], log: MixtureLog) -> Progress:
    if state["version"] == 1:
        saved, mixture_k = state, np.zeros(log.num_domains)
    else:
        saved, mixture_k = state["anchor"], log.mixture(int(state["step"]))
    anchor = Anchor(
        np.array(saved["draws"], dtype=np.int64),
        np.array(saved["credits"], dtype=np.float64),
        mixture_k,
    )
    drawn_k, tokens_k = (np.array(state[name], dtype=np.int64) for name in ("draws", "tokens"))
    return Progress(int(state["step"]), anchor, drawn_k, tokens_k)
