"""Stages seven and eight: the run itself, and the control run on the same budget."""

from typing import Any

import numpy as np

from dids.mixture.policy import make_policy
from dids.run.stages.impact import estimator, initial_impact, round_budget
from dids.run.workspace import Workspace
from dids.training.train import TrainedRun, train_model


def run(work: Workspace) -> dict[str, Any]:
    """Write ``train/``."""
    trained = _trained(work, work.config.mixture.policy, "train")
    return {"measuring_s": trained.history.measuring_s}


def run_control(work: Workspace) -> dict[str, Any]:
    """Write ``control/``: the same model, samplers and budget under a plain policy."""
    policy = work.config.control
    if policy is None:
        return {"trained": False}
    _trained(work, policy, "control")
    return {"trained": True, "policy": policy}


def _trained(work: Workspace, policy_name: str, name: str) -> TrainedRun:
    config = work.config
    is_main = name == "train"
    policy = make_policy(policy_name, **(config.mixture.settings if is_main else {}))
    model = work.new_model(config.model)
    num_domains = len(work.domain_data.names)
    title = "training" if is_main else f"control run ({policy_name})"
    with work.progress.bar(title, 1.0) as advance:
        return train_model(
            work.path(name),
            model=model,
            tokenizer=work.tokenizer,
            data=work.domain_data,
            policy=policy,
            limits=work.limits,
            prior=np.full(num_domains, 1.0 / num_domains),
            seed=config.seed,
            arguments=config.training,
            unit=config.mixture.unit,
            num_rounds=config.mixture.rounds,
            budget_tokens=config.budget.tokens,
            estimator=estimator(work, round_budget(work, model.num_parameters())),
            initial_impact=initial_impact(work) if policy.needs_impact else None,
            task_weights=work.task_weights,
            on_step=advance,
        )
