"""What a stopped run goes on from: the state of its checkpoint, in the domains that hold now."""

from pathlib import Path
from typing import Any

import numpy as np

from dids.errors import InputError
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import Policy
from dids.sampling.token_unit import Unit
from dids.steering.follower import SteeringFollower
from dids.training.checkpoints import read_state
from dids.training.domain_data import DomainData
from dids.training.regrouping import regrouped_state


def resumed_state(
    checkpoint: Path,
    data: DomainData,
    policy: Policy,
    limits: MixtureLimits,
    prior: np.ndarray,
    steering: SteeringFollower | None,
    batch_size: int,
    seed: int,
    unit: Unit,
) -> dict[str, Any]:
    """The state of a checkpoint, in the domains of now where they were regrouped since.

    Args:
        checkpoint: A complete one.
        data: The domains of now.
        policy: As it will go on.
        limits: On the mixtures to come, where nothing steers them.
        prior: Of the domains of now, likewise.
        steering: Says what limits and prior were in force.
        batch_size: Samples of a step of the run that goes on.
        seed: Of the sampler.
        unit: What mixtures are shares of.

    Raises:
        InputError: If the checkpoint was made with another number of samples a step.
    """
    state = read_state(checkpoint)
    saved = state["sampler"]["batch_size"]
    if saved != batch_size:
        raise InputError(
            f"{checkpoint}: it was made with {saved} samples a step over all processes, and now it "
            f"would be {batch_size}; start as many processes as before. With budget.batch_size, "
            "any number of them would do."
        )
    before = data.groupings[state.get("grouping", 0)]
    if steering is not None:
        step, tokens = int(state["step"]), int(state.get("tokens", 0))
        steered = steering.for_round(state["round"], step=step, tokens=tokens)
        limits, prior = steered.limits, steered.prior
    data_before = DomainData(data.dataset, before.names, before.members, [None] * len(before.names))
    uniform = np.full(len(before.names), 1.0 / len(before.names))
    return regrouped_state(
        state,
        data.groupings,
        policy=policy,
        limits=limits,
        prior=prior,
        lengths=data.dataset.lengths,
        make_sampler=lambda o: data.sampler(o, prior, batch_size, seed, unit),
        make_sampler_before=lambda o: data_before.sampler(o, uniform, batch_size, seed, unit),
        seed=seed,
    )
