"""What a training run remembers: mixtures, impacts and task losses, round by round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dids.sampling.mixture_log import MixtureLog


@dataclass
class History:
    """Everything that the report tells of a run; JSON all the way down.

    Attributes:
        mixture: One object a round: round, step (the first with this mixture), tokens,
            probability by domain, explanation.
        impact: One object a measurement: round, step, then cosine, kernel and distance by domain
            and task.
        task_losses: By task, pairs of tokens trained on and mean validation loss.
        training_losses: Pairs of step and training loss.
        regroupings: One object for each time that the domains were regrouped: round, step, tokens,
            changes (what became of what, by name).
        measuring_s: Seconds spent on impact and mixture.
        training_s: Seconds of the whole run, measuring included.
        num_gradient_samples: Samples whose gradient was taken for an impact.
    """

    mixture: list[dict[str, Any]] = field(default_factory=list)
    impact: list[dict[str, Any]] = field(default_factory=list)
    task_losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    training_losses: list[tuple[int, float]] = field(default_factory=list)
    regroupings: list[dict[str, Any]] = field(default_factory=list)
    measuring_s: float = 0.0
    training_s: float = 0.0
    num_gradient_samples: int = 0

    def mixtures(self, domain_names: Sequence[str]) -> MixtureLog:
        """All mixtures of the run, which the sampler forgets as it goes."""
        logs = [
            MixtureLog([entry["probability"][name] for name in domain_names], entry["step"])
            for entry in self.mixture
        ]
        for log in logs[1:]:
            logs[0].append(*log.entries[0])
        return logs[0]

    def to_json(self) -> dict[str, Any]:
        """The history as plain lists and objects."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "History":
        """The inverse of ``to_json``."""
        task_losses = {
            task: [(int(tokens), float(loss)) for tokens, loss in points]
            for task, points in state["task_losses"].items()
        }
        training_losses = [(int(step), float(loss)) for step, loss in state["training_losses"]]
        return cls(**{**state, "task_losses": task_losses, "training_losses": training_losses})
