"""Stages seven and eight: the run itself, and the control run on the same budget."""

from typing import Any

from dids.mixture.policy import make_policy
from dids.run.stages.impact import estimator, initial_impact, round_budget
from dids.run.steering import steering_follower, write_steering_file
from dids.run.workspace import Workspace
from dids.training.train import TrainedRun, train_model


def run(work: Workspace) -> dict[str, Any]:
    """Write ``train/``."""
    write_steering_file(work)
    trained = _trained(work, work.config.mixture.policy, "train")
    return {"measuring_s": trained.history.measuring_s}


def run_control(work: Workspace) -> dict[str, Any]:
    """Write ``control/``: the same model, samplers and budget under a plain policy.

    It keeps the limits that the run began with; who edits ``steering.yaml`` steers the run alone.
    """
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
    follower = steering_follower(work)
    steered = follower.at_start()
    title = "training" if is_main else f"control run ({policy_name})"
    with work.progress.bar(title, 1.0) as advance:
        return train_model(
            work.path(name),
            model=model,
            tokenizer=work.tokenizer,
            data=work.domain_data,
            policy=policy,
            limits=steered.limits,
            prior=steered.prior,
            seed=config.seed,
            arguments=config.training,
            unit=config.mixture.unit,
            num_rounds=config.mixture.rounds,
            budget_tokens=config.budget.tokens,
            estimator=estimator(work, round_budget(work, model.num_parameters())),
            initial_impact=initial_impact(work) if policy.needs_impact else None,
            task_weights=steered.task_weights,
            steering=follower if is_main else None,
            on_step=advance,
        )
