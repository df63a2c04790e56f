"""What a policy needs a run to show it, besides what every run shows, and how often."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Needs:
    """What is to be measured for a policy. Whatever is not named here costs nothing.

    Attributes:
        metric: The metric of the impact that it looks at: ``plain`` compares gradients as they are,
            without the optimizer's step. None: as the config says.
        every_steps: It is asked again after so many optimizer steps within a round; impact is
            measured at the ends of rounds alone. None: at the ends of rounds only.
        every_round: It is asked at the end of every round, not only where something is measured.
        task_losses: Whether validation losses of the tasks are measured for those steps, too.
        training_losses: Whether it looks at the losses of the domains' own samples, read off the
            steps that train the model.
        reference: Whether it looks at what these losses are beyond a reference model's, which costs
            a forward pass of that model in every step.
        confidence: Whether it looks at how sure the model is of its predictions.
        features: Whether it looks at gradient features of samples of the domains and the tasks.
        brackets: Whether it looks at the Lie brackets of the domains' gradients, which cost a
            gradient and a Hessian-vector product for each domain and round, and hold the gradients
            of all domains at once.
        robust_tasks: Whether ``impact.robust_tasks`` holds for it; not for rules that are published
            otherwise.
        measurements: A run too short for so many measurements of impact with its overhead makes
            them all the same, where the config does not say how many.
    """

    metric: Literal["fisher", "step", "plain"] | None = None
    every_steps: int | None = None
    every_round: bool = False
    task_losses: bool = False
    training_losses: bool = False
    reference: bool = False
    confidence: bool = False
    features: bool = False
    brackets: bool = False
    robust_tasks: bool = True
    measurements: int = 4

    @property
    def losses(self) -> bool:
        """Whether it looks at anything that training shows of the domains."""
        return self.training_losses or self.reference or self.confidence


def needs_of(policy: Any) -> Needs:  # noqa: ANN401
    """A policy's ``needs``; none where it has no such attribute.

    Example:
        >>> needs_of(object()).every_steps is None
        True
    """
    needs: Needs = getattr(policy, "needs", Needs())
    return needs
