"""Trials without training: every task's loss falls by what the mixture's domains do for it."""

from pathlib import Path

import numpy as np
from observations import observation_of

from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import Trial


class MadeUpTrials:
    """Losses of 4 that fall by ``drop_kt`` of each domain, times its share and the budget."""

    def __init__(self, drop_kt, floor=0.0):
        self.drop_kt = np.array(drop_kt)
        num_domains, num_tasks = self.drop_kt.shape
        self.domain_names = tuple(f"d{k}" for k in range(num_domains))
        self.task_names = tuple(f"t{t}" for t in range(num_tasks))
        self.task_weights = np.ones(num_tasks)
        self.sizes_k = np.full(num_domains, 100)
        self.prior = np.full(num_domains, 1 / num_domains)
        self.limits = MixtureLimits.with_floor(num_domains, floor)
        self.budget_tokens = 1000
        self.seed = 0
        self.asked = []

    def run(self, name, policy, *, model="proxy", budget=1.0, rounds=None, reference=None):
        assert name not in [before["name"] for before in self.asked]
        self.asked.append({"name": name, "model": model, "budget": budget, "rounds": rounds})
        seen = observation_of(
            round=0, step=0, impact=None, task_losses={}, task_weights=self.task_weights,
            sizes_k=self.sizes_k, draws_k=np.zeros_like(self.sizes_k), previous=self.prior,
            prior=self.prior, limits=self.limits,
        )  # fmt: skip
        mixture_k = policy.mixture(seen).mixture
        after_t = 4.0 - budget * mixture_k @ self.drop_kt
        return Trial(
            folder=Path(name),
            mean_mixture_k=mixture_k,
            task_losses={
                task: ((0, 4.0), (round(budget * 1000), float(loss)))
                for task, loss in zip(self.task_names, after_t, strict=True)
            },
            tokens=round(budget * self.budget_tokens),
            elapsed_s=1.0,
        )
