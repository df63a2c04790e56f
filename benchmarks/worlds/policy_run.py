"""A policy in a world: measured every round, trained on for the round, limits kept.

As in a run with a language model: the domains' gradients are those of the round's own samples (four
extra ones before training, or where a domain was not drawn), the tasks' those of a few validation
samples; validation losses are followed; the mixture that holds before anything is known is uniform.

Impact is measured in one of two metrics. ``fisher``, the package's own: the task samples' squares.
``plain``: the kernel is the optimizer's step times the task's gradient, which is what a step gains
in nats, to first order.

Axis letters: k domains, t tasks, p parameters, n samples.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64

from benchmarks.worlds.world import Budget, World, trained
from dids.impact.matrices import ImpactMatrices
from dids.mixture.limits import MixtureLimits
from dids.mixture.observation import Observation
from dids.mixture.policy import Policy

Metric = Literal["fisher", "plain"]

_EXTRA_SAMPLES = 4


@dataclass(frozen=True)
class PolicyRun:
    """What came of it.

    Attributes:
        losses_t: Each task's loss at the end.
        mixture_rk: The mixture of every round.
    """

    losses_t: Float64[np.ndarray, " t"]
    mixture_rk: Float64[np.ndarray, "r k"]


def policy_run(
    world: World,
    budget: Budget,
    policy: Policy,
    limits: MixtureLimits,
    seed: int,
    metric: Metric = "fisher",
) -> PolicyRun:
    """Train a world under a policy.

    Args:
        world: What is trained.
        budget: How long.
        policy: Makes every round's mixture.
        limits: What every mixture keeps.
        seed: Of the samples that impact is measured on.
        metric: That impact is measured in.
    """
    rng = np.random.default_rng(seed)
    num_domains = len(world.domain_names)
    prior_k = np.full(num_domains, 1.0 / num_domains)
    theta_p, draws_k, mixture_k = world.start_p, np.zeros(num_domains), prior_k
    drawn_k = np.zeros(num_domains)
    histories: list[list[tuple[int, float]]] = [[] for _ in range(world.num_tasks)]
    mixtures = []
    for number in range(budget.num_rounds):
        tokens = number * budget.round_samples
        for history, loss in zip(histories, world.task_losses(theta_p[None])[0], strict=True):
            history.append((tokens, float(loss)))
        observation = Observation(
            round=number,
            step=number * budget.steps,
            tokens=tokens,
            horizon_tokens=budget.round_samples,
            impact=measured_impact(world, theta_p, drawn_k, budget.task_samples, metric, rng),
            task_losses={f"task {task}": history for task, history in enumerate(histories)},
            task_weights=np.ones(world.num_tasks),
            sizes_k=world.sizes_k,
            draws_k=np.rint(draws_k).astype(np.int64),
            previous=mixture_k,
            prior=prior_k,
            limits=limits,
            training_flops=0.0,  # nobody waits: there is no model to get far
        )
        mixture_k = policy.mixture(observation).mixture
        mixtures.append(mixture_k)
        theta_mp, draws_mk = trained(
            world, budget, theta_p[None], draws_k[None], mixture_k[None], budget.steps
        )
        drawn_k = draws_mk[0] - draws_k
        theta_p, draws_k = theta_mp[0], draws_mk[0]
    return PolicyRun(world.task_losses(theta_p[None])[0], np.stack(mixtures))


def measured_impact(
    world: World,
    theta_p: Float64[np.ndarray, " p"],
    drawn_k: Float64[np.ndarray, " k"],
    task_samples: int,
    metric: Metric,
    rng: np.random.Generator,
) -> ImpactMatrices:
    """Impact at the parameters as they are, from as many samples of each domain as were drawn."""
    halves_2kp = np.empty((2, len(drawn_k), len(theta_p)))
    for domain, drawn in enumerate(drawn_k):
        size = max(1, int(max(drawn, _EXTRA_SAMPLES)) // 2)
        for half in range(2):
            halves_2kp[half, domain] = world.domain_gradient_sample(theta_p, domain, size, rng)
    samples_tnp = np.stack(
        [
            world.task_gradient_samples(theta_p, task, task_samples, rng)
            for task in range(world.num_tasks)
        ]
    )
    targets_2tp = np.stack([samples_tnp[:, half::2].mean(axis=1) for half in range(2)])
    square_tp = (samples_tnp**2).mean(axis=1)
    is_plain = metric == "plain"
    return ImpactMatrices.of(
        update_kp=torch.from_numpy(world.step_p * halves_2kp.mean(axis=0)),
        target_tp=torch.from_numpy(world.step_p * targets_2tp.mean(axis=0)),
        fisher_tp=torch.from_numpy(np.ones_like(square_tp) if is_plain else square_tp),
        # The task's step divided by the preconditioner is its gradient again.
        weight_p=torch.from_numpy(1.0 / world.step_p) if is_plain else None,
        update_halves_2kp=torch.from_numpy(world.step_p * halves_2kp),
        target_halves_2tp=torch.from_numpy(world.step_p * targets_2tp),
        domain_names=world.domain_names,
        task_names=tuple(f"task {task}" for task in range(world.num_tasks)),
    )
