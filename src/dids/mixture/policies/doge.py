"""The policy ``doge``: domains are weighed by what their gradients do for the target's.

Axis letters: k, l domains, t tasks.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64

from dids.domains.regrouping import Regrouping
from dids.impact.matrices import ImpactMatrices
from dids.mixture.explanation import impact_explanation
from dids.mixture.found_mixture import FoundMixture
from dids.mixture.multiplicative_weights import MultiplicativeWeights
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision, unmeasured
from dids.mixture.search import Trials
from dids.mixture.setting_ranges import check_positive

# What the released code adds to the mean length of the gradients.
_EPSILON = 1e-6


class Doge(FoundMixture):
    """The mixture that a proxy had on average while it was trained under `DogeOnline`.

    DoGE, domain reweighting with generalisation estimation, as described by Fan, Pagliardini &
    Jaggi 2024, arXiv:2310.15393, in two stages: a proxy is trained, its weights are averaged over
    its steps (``avg_dw`` in the released code), and the model is trained on that mixture.

    Args:
        learning_rate: Of the proxy, in the exponent.
        mu: Strength of the pull to the mixture before, in the exponent.
        max_norm: What gradients are clipped to before they are compared.
        universal: Whether the target is all domains together, and not the tasks.
        budget: Tokens of the proxy's training, as a fraction of the run's.
        rounds: How often the proxy's gradients are measured. None: as often as the run's.

    Note:
        The released configurations train the proxy for 10,000 steps.
    """

    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"mu": 0.01},
        {"mu": 0.002},
    )

    def __init__(
        self,
        *,
        learning_rate: float = 5e-4,
        mu: float = 0.05,
        max_norm: float = 1.0,
        universal: bool | float = False,
        budget: float = 1.0,
        rounds: int | float | None = None,
    ) -> None:
        super().__init__()
        check_positive(budget=budget)
        if rounds is not None and (rounds != int(rounds) or rounds < 1):
            raise ValueError(f"rounds must be a whole number from 1 on, but it is {rounds}.")
        self.budget = budget
        self.rounds = None if rounds is None else int(rounds)
        self._online = DogeOnline(
            learning_rate=learning_rate, mu=mu, max_norm=max_norm, universal=universal
        )

    def search(self, trials: Trials) -> None:
        """Train the proxy under the online rule; its mean mixture is that of the run."""
        proxy = trials.run(
            "proxy", self._online, model="proxy", budget=self.budget, rounds=self.rounds
        )
        self.found_k = proxy.mean_mixture_k


class DogeOnline:
    """DoGE's own rule: multiplicative weights on how far gradients point the target's way.

    ``p_k`` is multiplied by ``exp(learning_rate / mu * s_k)`` in every step, where ``s_k = <g_k,
    sum_t h_t> / mean_l |g_l|`` is held between 0 and 5. In the universal form the target is
    ``sum_{l != k} g_l``. (As described by Fan, Pagliardini & Jaggi 2024, arXiv:2310.15393, and read
    in the released code: ``src/trainer.py``, ``update_domain_weights``, with the settings of
    ``config/doge_ood``.)

    Args:
        learning_rate: Of the proxy. The paper's follows a schedule; this is its peak.
        mu: Strength of the pull to the mixture before.
        max_norm: What gradients are clipped to before they are compared; ``.inf`` for as they are.
        universal: Whether the target is all domains together, and not the tasks.

    Note:
        The paper measures gradients in every step, on one batch. Here they are measured once a
        round, as means over its samples, and the rule is applied as often as the round had steps.
        Tasks stand for the target domains, with the user's weights. A domain that goes against the
        target counts like one that does nothing for it, as in the released code.
    """

    needs_impact = True
    needs = Needs(metric="plain", robust_tasks=False)
    highest = 5.0

    def __init__(
        self,
        *,
        learning_rate: float = 5e-4,
        mu: float = 0.05,
        max_norm: float = 1.0,
        universal: bool | float = False,
    ) -> None:
        if not (learning_rate > 0.0 and mu > 0.0 and max_norm > 0.0):
            raise ValueError(
                "learning_rate, mu and max_norm must be above 0, but are "
                f"{learning_rate}, {mu}, {max_norm}."
            )
        self.step_size = learning_rate / mu
        self.max_norm = max_norm
        self.universal = bool(universal)
        self._weights = MultiplicativeWeights()
        self._step = 0

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the round that begins; the one before where nothing was measured."""
        impact = observation.impact
        if impact is None:
            return unmeasured(observation)
        weight_t = observation.task_weights / observation.task_weights.mean()
        gram_kk, kernel_kt = _clipped(impact, self.max_norm)
        length_k = np.sqrt(np.maximum(np.diagonal(gram_kk), 0.0))
        pull_kt = kernel_kt / (length_k.mean() + _EPSILON)
        score_k = pull_kt @ weight_t
        if self.universal:
            score_k = (gram_kk.sum(axis=1) - np.diagonal(gram_kk)) / (length_k.mean() + _EPSILON)
        num_steps = observation.step - self._step
        self._step = observation.step
        self._weights.add(self.step_size * num_steps * np.clip(score_k, 0.0, self.highest))
        best_k = self._weights.mixture(observation.prior)
        return PolicyDecision(
            observation.limits.project(best_k),
            impact_explanation(
                observation, weight_t, pull_kt, {"utility": score_k, "best": best_k}
            ),
        )

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains."""
        self._weights.regroup(regrouping)

    def state_dict(self) -> dict[str, Any]:
        """The weights, and the steps that are in them."""
        return {"weights": self._weights.state_dict(), "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._weights.load_state_dict(state["weights"])
        self._step = int(state["step"])


def _clipped(
    impact: ImpactMatrices, max_norm: float
) -> tuple[Float64[np.ndarray, "k k"], Float64[np.ndarray, "k t"]]:
    """Inner products of gradients that are no longer than ``max_norm``."""
    gram_kk = impact.gram_tkk[0]
    share_k = _shares(np.diagonal(gram_kk), max_norm)
    share_t = _shares(impact.target_norm_t, max_norm)
    return gram_kk * np.outer(share_k, share_k), impact.kernel_kt * np.outer(share_k, share_t)


def _shares(square_n: np.ndarray, max_norm: float) -> np.ndarray:
    share_n = np.ones(len(square_n))
    np.divide(max_norm, np.sqrt(np.maximum(square_n, 0.0)), out=share_n, where=square_n > 0)
    return np.minimum(share_n, 1.0)
