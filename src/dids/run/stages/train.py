"""Stages eight and nine: the run itself, and the control run on the same budget."""

from typing import Any

from dids.mixture.policy import Policy, make_policy
from dids.ranks import from_first_rank
from dids.run.stages.search import searched_policy
from dids.run.steering import write_steering_file
from dids.run.training import trained
from dids.run.workspace import Workspace
from dids.training.train import TrainedRun


def run(work: Workspace) -> dict[str, Any]:
    """Write ``train/``."""
    from_first_rank(lambda: write_steering_file(work))
    done = _trained(work, searched_policy(work), "train", "training", is_steered=True)
    return {"measuring_s": done.history.measuring_s}


def run_control(work: Workspace) -> dict[str, Any]:
    """Write ``control/``: the same model, samplers and budget under a plain policy.

    It keeps the limits that the run began with; who edits ``steering.yaml`` steers the run alone.
    """
    name = work.config.control
    if name is None:
        return {"trained": False}
    _trained(work, make_policy(name), "control", f"control run ({name})", is_steered=False)
    return {"trained": True, "policy": name}


def _trained(
    work: Workspace, policy: Policy, name: str, title: str, *, is_steered: bool
) -> TrainedRun:
    config = work.config
    with work.progress.bar(title, 1.0) as advance:
        return trained(
            work,
            work.path(name),
            policy,
            model_config=config.model,
            budget_tokens=config.budget.tokens,
            num_rounds=config.mixture.rounds,
            is_steered=is_steered,
            on_step=advance,
        )
