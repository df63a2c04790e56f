"""Trials whose losses are a formula: what a search finds can be compared with the optimum."""

from pathlib import Path

import numpy as np
from observations import observation_of

from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import Trial


class MadeUpTrials:
    """``L_t(p) = rest_t + exp(b_t - sum_k use_kt p_k)``, exactly the law that mixtures follow."""

    def __init__(self, use_kt, *, rest=1.0, prior=None, floor=0.0, task_names=None, noise=0.0):
        self.use_kt = np.array(use_kt, dtype=float)
        num_domains, num_tasks = self.use_kt.shape
        self.rest, self.noise = rest, noise
        self.domain_names = tuple(f"d{k}" for k in range(num_domains))
        self.task_names = task_names or tuple(f"t{t}" for t in range(num_tasks))
        self.task_weights = np.ones(num_tasks)
        self.sizes_k = np.arange(1, num_domains + 1) * 100
        self.prior = np.full(num_domains, 1 / num_domains) if prior is None else np.array(prior)
        self.limits = MixtureLimits.with_floor(num_domains, floor)
        self.budget_tokens = 1_000_000
        self.seed = 3
        self.asked = []

    def losses(self, mixture_k):
        return self.rest + np.exp(1.0 - mixture_k @ self.use_kt)

    def relative_loss(self, mixture_k):
        """What mixtures are compared by."""
        uniform_k = np.full(len(mixture_k), 1 / len(mixture_k))
        return float((self.losses(mixture_k) / self.losses(uniform_k)).mean())

    def run(self, name, policy, *, model="proxy", budget=1.0, rounds=None, reference=None):
        assert name not in [asked["name"] for asked in self.asked]
        seen = observation_of(
            impact=None,
            sizes_k=self.sizes_k,
            draws_k=np.zeros_like(self.sizes_k),
            previous=self.prior,
            prior=self.prior,
            limits=self.limits,
        )
        mixture_k = policy.mixture(seen).mixture
        assert self.limits.allows(mixture_k)
        self.asked.append({"name": name, "model": model, "budget": budget, "mixture": mixture_k})
        rng = np.random.default_rng(len(self.asked))
        losses = self.losses(mixture_k) + self.noise * rng.normal(size=len(self.task_names))
        return Trial(
            folder=Path(name),
            mean_mixture_k=mixture_k,
            task_losses={
                task: ((0, 4.0), (int(budget * self.budget_tokens), float(loss)))
                for task, loss in zip(self.task_names, losses, strict=True)
            },
            tokens=int(budget * self.budget_tokens),
            elapsed_s=1.0,
        )


# Two domains that serve a task each, one that serves both a little, and two of no use.
USE = [[3.0, 0.0], [0.0, 3.0], [1.0, 1.0], [0.0, 0.0], [-1.0, -1.0]]
