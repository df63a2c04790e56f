"""The policy ``ado``: domains by how fast their losses are about to fall.

Axis letters: k domains.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64

from dids.domains.regrouping import Regrouping
from dids.mixture.explanation import domain_explanation
from dids.mixture.loss_history import LossHistory
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision
from dids.mixture.power_law import PowerLaw, power_laws
from dids.mixture.setting_ranges import check_not_negative, check_share

_TOKENS = 1024
_LEAST_ALPHA = 0.05
_REFIT = 1.0 / 60.0


class AdaptiveDataOptimization:
    """A power law for every domain's loss, and more of the domains where it falls fastest.

    ``L_k(n) = epsilon_k + beta_k n ** -alpha_k`` is fitted again and again to what the run has
    seen. In every step t the preference ``rho_k`` is proportional to ``prior_k h_k ** credit_power
    alpha_k (L_k - epsilon_k) / n``, and no less than ``least_share``; ``h(t) = credit_decay h(t-1)
    + (1 - credit_decay) p(t-1)`` is what was drawn of late. Then ``p(t) = (1 - inertia) rho +
    inertia q(t-1)``, with the average ``q(t) = rho / (t+1) + t / (t+1) q(t-1)``. (Jiang, Zhou,
    Feng, Malladi & Kolter 2024, arXiv:2410.11820, as read in its code, github.com/yidingjiang/ado,
    src/data_selectors/ado.py: n counts the samples of all domains, alpha_k is 0.05 at least in the
    slope, and rho is raised to the least share.)

    Args:
        credit_power: How far what is hardly drawn is not credited with its loss's fall.
        credit_decay: How slowly h forgets.
        inertia: Weight of the average over all steps, q.
        least_share: Of every domain in rho; half of 1 / K where that is less.
        warmup: Part of the run that is trained with the prior; losses of its second half are the
            first that count.

    Note:
        n is in sequences of 1,024 tokens, the paper's. Laws are fitted at the end of the warm-up
        and then 60 times a run, as often as in the paper's 60,000 steps; its warm-up of 1,000 steps
        would be five in a run of 300, and is a twentieth here. A loss curve is kept as means over
        at most 64 blocks of steps, where the paper takes each tenth step of a Savitzky-Golay
        filter's values, and steps without a domain are left out, where the paper repeats its last
        loss. A domain without a law has the others' mean slope. The credit is the
        paper's ``h_k ** credit_power``, where the released code has ``(h_k (1 - h_k)) ** 0.5``.
    """

    needs_impact = False
    needs = Needs(every_steps=1, training_losses=True)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"credit_power": 0.0},
        {"inertia": 0.5},
    )

    def __init__(
        self,
        *,
        credit_power: float = 0.5,
        credit_decay: float = 0.9,
        inertia: float = 0.9,
        least_share: float = 0.01,
        warmup: float = 0.05,
    ) -> None:
        check_not_negative(credit_power=credit_power)
        check_share(
            credit_decay=credit_decay, inertia=inertia, warmup=warmup, least_share=least_share
        )
        self.credit_power = credit_power
        self.credit_decay = credit_decay
        self.inertia = inertia
        self.least_share = least_share
        self.warmup = warmup
        self._history = LossHistory()
        self._credit_k: np.ndarray | None = None
        self._average_k: np.ndarray | None = None
        self._laws: list[PowerLaw | None] = []
        self._fitted_at: int | None = None
        self._step = 0

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the step that begins; the prior while the run warms up."""
        if self._credit_k is None or self._average_k is None:
            self._credit_k = self._average_k = observation.prior
        trained, warm_steps = observation.trained, self.warmup * observation.num_steps
        if trained is None or not (trained.tokens_k > 0).any():
            return self._unchanged(observation)
        num_new, self._step = observation.step - self._step, observation.step
        decay = self.credit_decay**num_new
        self._credit_k = decay * self._credit_k + (1.0 - decay) * observation.previous
        if observation.step > 0.5 * warm_steps:
            self._history.add(_sequences(observation), trained.tokens_k, trained.loss_k)
        if observation.step < warm_steps:
            return self._unchanged(observation)
        self._fit(observation)
        slope_k = self._slopes(observation)
        if slope_k is None:
            return self._unchanged(observation)
        rho_k = observation.prior * self._credit_k**self.credit_power * slope_k
        rho_k = self._raised(rho_k / rho_k.sum())
        best_k = (1.0 - self.inertia) * rho_k + self.inertia * self._average_k
        part = min(1.0, num_new / (observation.step + 1))
        self._average_k = part * rho_k + (1.0 - part) * self._average_k
        columns = {"slope": slope_k, "preference": rho_k, "best": best_k}
        domains = domain_explanation(observation.domain_names, columns)
        return PolicyDecision(observation.limits.project(best_k), {"domains": domains})

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains, which take losses and shares along; laws are fitted anew."""
        self._history.regroup(regrouping)
        if self._credit_k is not None and self._average_k is not None:
            self._credit_k = np.asarray(regrouping.passed_kj @ self._credit_k)
            self._average_k = np.asarray(regrouping.passed_kj @ self._average_k)
        self._laws, self._fitted_at = [], None

    def state_dict(self) -> dict[str, Any]:
        """Loss curves, laws, what was drawn of late and the average over all steps."""
        laws = [law and [law.log_beta, law.log_epsilon, law.alpha] for law in self._laws]
        return {
            "history": self._history.state_dict(),
            "credit": None if self._credit_k is None else self._credit_k.tolist(),
            "average": None if self._average_k is None else self._average_k.tolist(),
            "laws": laws,
            "fitted_at": self._fitted_at,
            "step": self._step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._history.load_state_dict(state["history"])
        credit, average = state["credit"], state["average"]
        self._credit_k = None if credit is None else np.array(credit, dtype=np.float64)
        self._average_k = None if average is None else np.array(average, dtype=np.float64)
        self._laws = [None if law is None else PowerLaw(*law) for law in state["laws"]]
        self._fitted_at = state["fitted_at"]
        self._step = int(state["step"])

    def _unchanged(self, observation: Observation) -> PolicyDecision:
        is_over = observation.step >= self.warmup * observation.num_steps
        kept_k = observation.previous if is_over else observation.prior
        return PolicyDecision(observation.limits.project(kept_k))

    def _fit(self, observation: Observation) -> None:
        interval = max(1.0, _REFIT * observation.num_steps)
        if self._fitted_at is not None and observation.step < self._fitted_at + interval:
            return
        self._laws = power_laws(self._history.seen_b(), self._history.loss_bk())
        self._fitted_at = observation.step

    def _slopes(self, observation: Observation) -> Float64[np.ndarray, " k"] | None:
        seen = _sequences(observation)
        known_k = np.array(
            [np.nan if law is None else law.slope(seen, _LEAST_ALPHA) for law in self._laws]
        )
        if not (known_k > 0.0).any():
            return None
        return np.where(np.isfinite(known_k), known_k, np.nanmean(known_k))

    def _raised(self, share_k: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        raised_k = np.maximum(share_k, min(self.least_share, 0.5 / len(share_k)))
        return np.asarray(raised_k / raised_k.sum())


def _sequences(observation: Observation) -> float:
    return observation.tokens / _TOKENS
