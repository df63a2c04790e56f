"""The policy ``regmix``: small runs on random mixtures, and a regression that finds the best one.

Axis letters: n trials, s simulated mixtures, k domains, t tasks.
"""

from typing import ClassVar, get_args

import numpy as np

from dids.mixture.found_mixture import FoundMixture
from dids.mixture.loss_regression import Regression, fitted_losses
from dids.mixture.mixture_draws import above_floors, dirichlet, dirichlet_mixtures
from dids.mixture.search import Trials, scored_task_names
from dids.mixture.setting_ranges import check_positive


class RegMix(FoundMixture):
    """The mixture that a regression over small runs takes for the best, for the whole run.

    Small runs of the proxy on mixtures ``p_n`` drawn around the prior give losses ``L_nt``; for
    every task a regression predicts ``L_t(p)``; of 100,000 simulated mixtures the 128 with the
    least ``sum_t w_t L_t(p) / mean_n L_nt`` are averaged. (Liu, Zheng, Muennighoff, Zeng, Dou,
    Pang, Jiang & Lin 2024, arXiv:2407.01492, Algorithm 1; how mixtures are drawn, simulated and
    averaged as in the released code, sail-sg/regmix.)

    Args:
        num_trials: Small runs; 512 in the paper.
        budget: Tokens of each, as a fraction of the run's.
        regression: ``log-linear``, ``linear``, or ``lightgbm`` where that is installed.
        temperature: Below 1 mixtures are drawn around a flatter prior.
        min_strength: Of the Dirichlet distributions; small: most weight on few domains.
        max_strength: Large: near to the prior.

    Note:
        The paper's regression is LightGBM, or a linear one. Trees need hundreds of trials, and a
        linear law of several tasks is always best in a corner; so the default is a law that is
        linear in the logarithm. The paper has one target, here it is the tasks' mean relative loss.
        Domains' floors are taken off before mixtures are drawn and put back on.
    """

    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"regression": "linear"},
        {"budget": 0.2},
    )
    num_simulated = 100_000
    num_averaged = 128
    most_times_prior = 15.0

    def __init__(
        self,
        *,
        num_trials: float = 32,
        budget: float = 0.1,
        regression: str = "log-linear",
        temperature: float = 0.5,
        min_strength: float = 0.1,
        max_strength: float = 5.0,
    ) -> None:
        super().__init__()
        if regression not in get_args(Regression):
            raise ValueError(f"regression must be {', '.join(get_args(Regression))}")
        if num_trials < 2:
            raise ValueError("num_trials must be 2 or more")
        check_positive(budget=budget, temperature=temperature, min_strength=min_strength)
        if not min_strength <= max_strength:
            raise ValueError(
                f"max_strength must be at least min_strength, {min_strength}, but it is "
                f"{max_strength}."
            )
        self.num_trials = int(num_trials)
        self.budget = budget
        self.regression = regression
        self.temperature = temperature
        self.strengths = (min_strength, max_strength)

    def search(self, trials: Trials) -> None:
        """Train on every drawn mixture, fit, simulate.

        Raises:
            InputError: If no task has a loss.
        """
        task_names = scored_task_names(trials, "regmix")
        rng = np.random.default_rng(trials.seed)
        drawn_nk = dirichlet_mixtures(
            trials.prior,
            self.num_trials,
            rng,
            strengths=self.strengths,
            temperature=self.temperature,
            most_times_prior=self.most_times_prior,
        )
        made = [
            trials.run(
                f"draw-{number:03d}",
                FoundMixture(trials.limits.project(mixture_k)),
                budget=self.budget,
                rounds=1,
            )
            for number, mixture_k in enumerate(above_floors(drawn_nk, trials.limits))
        ]
        loss_nt = np.stack([trial.final_losses(task_names) for trial in made])
        predict = fitted_losses(
            np.stack([trial.mean_mixture_k for trial in made]), loss_nt, self.regression
        )
        simulated_sk = dirichlet(trials.prior, self.num_simulated, rng)
        simulated_sk = above_floors(simulated_sk, trials.limits)
        weight_t = trials.task_weights / trials.task_weights.sum()
        score_s = (predict(simulated_sk) / loss_nt.mean(axis=0)) @ weight_t
        best_s = np.argsort(score_s, kind="stable")[: self.num_averaged]
        self.found_k = trials.limits.project(simulated_sk[best_s].mean(axis=0))
