"""A run of rounds of milliseconds: its tasks' losses fall by a half whenever they are looked at."""

import numpy as np
from tiny_trainer import SIZES, arguments, concatenated, pad, tiny_model
from transformers import PrinterCallback

from dids.impact.measuring_budget import MeasuringBudget
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import make_policy
from dids.sampling import MixtureSampler
from dids.training import DidsTrainer
from dids.training.round_plan import RoundPlan
from dids.training.rounds import MixtureRounds


class FallingLosses:
    """An estimator that measures no impact."""

    budget = MeasuringBudget(0, 2, 1)

    def __init__(self):
        self.loss = 4.0

    def grouped_gradients(self, model, *, index):
        return None

    def measure(self, model, optimizer, *, index, training=None):
        raise AssertionError("the uniform policy needs no impact")

    def brackets(self, model, *, index):
        raise AssertionError("the policy needs no brackets")

    def task_losses(self, model):
        self.loss -= 0.5
        return {"sums": self.loss}


def tiny_rounds(policy=None):
    domain_n = np.repeat(np.arange(3), list(SIZES.values()))
    prior = np.full(3, 1 / 3)
    sampler = MixtureSampler(
        [np.flatnonzero(domain_n == k) for k in range(3)], np.ones(69, dtype=np.int64),
        batch_size=8, seed=0, mixture=prior,
    )  # fmt: skip
    return MixtureRounds(
        sampler=sampler, policy=policy or make_policy("uniform"), estimator=FallingLosses(),
        plan=RoundPlan(budget_tokens=None, num_rounds=2, apply_lag=1, nominal_steps=8),
        limits=MixtureLimits(lower_k=np.zeros(3), upper_k=np.ones(3)), domain_names=list(SIZES),
        domain_of_sample=domain_n, task_weights=np.ones(1), sizes=sampler.draws_by_domain(0) + 1,
        scored_tokens=np.ones(3), initial_impact=None, prior=prior,
    )  # fmt: skip


def trained(folder, rounds, *callbacks, **changes):
    trainer = DidsTrainer(
        model=tiny_model(), args=arguments(folder, max_steps=8, save_strategy="no", **changes),
        data_collator=pad, train_dataset=concatenated(), mixture=rounds,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.train()
    return trainer
