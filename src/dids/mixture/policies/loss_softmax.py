"""The policy ``loss-softmax``: more of what the model is bad at.

Axis letters: k domains.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from scipy.special import softmax

from dids.domains.regrouping import Regrouping
from dids.mixture.explanation import domain_explanation
from dids.mixture.last_seen import LastSeen
from dids.mixture.needs import Needs
from dids.mixture.observation import Observation, PolicyDecision


class LossSoftmax:
    """Domains by their training losses: the higher, the more.

    ``p = softmax(loss_k / temperature)``, every few steps, as described in the pull request
    "dynamic data mixing based on per-domain loss" of ms-swift (2026,
    github.com/modelscope/ms-swift/pull/9142, closed).

    Args:
        temperature: In nats: how much higher a loss must be for e times the share.
        every_steps: How often, in optimizer steps; losses are means over these.

    Note:
        The defaults are ours: those of the pull request could not be had. A domain that was not
        drawn keeps its loss of before, and has the others' mean before it was ever drawn.
    """

    needs_impact = False
    needs = Needs(every_steps=10, training_losses=True)
    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
    )

    def __init__(self, *, temperature: float = 1.0, every_steps: int = 10) -> None:
        if not temperature > 0.0:
            raise ValueError(f"temperature must be above 0, but it is {temperature}.")
        if every_steps < 1:
            raise ValueError(f"every_steps must be 1 or more, but it is {every_steps}.")
        self.temperature = temperature
        self.needs = Needs(every_steps=int(every_steps), training_losses=True)
        self._losses = LastSeen()

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture for the steps that begin; the one before where no loss was seen."""
        if observation.trained is not None:
            self._losses.see(observation.trained.loss_k)
        loss_k = self._losses.filled()
        if loss_k is None:
            return PolicyDecision(observation.limits.project(observation.previous))
        best_k = softmax(loss_k / self.temperature)
        columns = {"loss": loss_k, "best": best_k}
        domains = domain_explanation(observation.domain_names, columns)
        return PolicyDecision(observation.limits.project(best_k), {"domains": domains})

    def regroup(self, regrouping: Regrouping) -> None:
        """Go on with other domains; a domain of new samples has the others' mean loss."""
        self._losses.regroup(regrouping)

    def state_dict(self) -> dict[str, Any]:
        """The last losses."""
        return self._losses.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._losses.load_state_dict(state)
