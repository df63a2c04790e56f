"""What a policy's search asks for, without training anything: trials with made-up losses."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dids.mixture.found_mixture import FoundMixture
from dids.mixture.policy import Policy, Trial
from dids.run.trials import RunTrials
from dids.run.workspace import Workspace


@dataclass(frozen=True)
class AskedTrial:
    """A trial that a search asked for.

    Attributes:
        policy: That it trains under.
        model: Which model of the config.
        tokens: That it trains on.
        rounds: Of it.
        has_reference: Whether a reference model runs beside it.
    """

    policy: Policy
    model: Literal["proxy", "model"]
    tokens: int
    rounds: int
    has_reference: bool

    @property
    def kind(self) -> tuple[str, str, bool]:
        """Trials of one kind take the same by step and by round."""
        return type(self.policy).__name__, self.model, self.has_reference


class MadeUpTrials(RunTrials):
    """Trials as a run has them, but none is trained: losses fall from 4 by a random amount.

    Args:
        work: As of `RunTrials`.

    Attributes:
        asked: The trials, in their order.
    """

    def __init__(self, work: Workspace) -> None:
        super().__init__(work)
        self.asked: list[AskedTrial] = []

    def run(
        self,
        name: str,
        policy: Policy,
        *,
        model: Literal["proxy", "model"] = "proxy",
        budget: float = 1.0,
        rounds: int | None = None,
        reference: Trial | None = None,
    ) -> Trial:
        """Note what was asked for, and make an outcome up."""
        tokens = max(1, round(budget * self.budget_tokens))
        rounds = self._work.config.mixture.rounds if rounds is None else rounds
        self.asked.append(AskedTrial(policy, model, tokens, rounds, reference is not None))
        found_k = policy.found_k if isinstance(policy, FoundMixture) else None
        return Trial(
            folder=Path(name),
            mean_mixture_k=self.prior if found_k is None else found_k,
            task_losses=self._losses(tokens),
            tokens=tokens,
            elapsed_s=0.0,
        )

    def _losses(self, tokens: int) -> Mapping[str, tuple[tuple[int, float], ...]]:
        generator = np.random.default_rng([self.seed, len(self.asked)])
        return {
            task: ((0, 4.0), (tokens, 4.0 - float(generator.uniform(0.1, 1.0))))
            for task in self.task_names
        }
