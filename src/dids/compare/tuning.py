"""The search for settings, of the same size for all, on a seed that the contest leaves out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dids.compare.outcome import Outcome
from dids.compare.standings import relative_loss


@dataclass(frozen=True)
class Tried:
    """Settings that were tried.

    Attributes:
        settings: Of the policy.
        relative_loss: Validation loss after the run over the baseline's, averaged over the tasks.
            None if the run failed or none was made, there being nothing to choose from.
        tokens: Trained on to find out, trials of the policy's own included.
    """

    settings: Mapping[str, Any]
    relative_loss: float | None = None
    tokens: int = 0


@dataclass(frozen=True)
class Tuned:
    """The settings that an entrant goes into the contest with.

    Attributes:
        settings: Chosen.
        tried: All that were in the choice.
    """

    settings: Mapping[str, Any]
    tried: tuple[Tried, ...] = ()

    @property
    def tokens(self) -> int:
        """Trained on to choose."""
        return sum(each.tokens for each in self.tried)


def tuned(
    candidates: Sequence[Mapping[str, Any]],
    outcomes: Mapping[int, Outcome],
    baseline: Outcome,
) -> Tuned:
    """The settings with the lowest validation loss relative to the baseline's; test sets stay shut.

    Args:
        candidates: Settings, the default ones first: they win a draw, and where all others failed.
        outcomes: By number of the settings; those that failed are missing.
        baseline: The baseline's run on the same seed.
    """
    tried = []
    for number, settings in enumerate(candidates):
        outcome = outcomes.get(number)
        if outcome is None:
            tried.append(Tried(settings))
            continue
        loss = relative_loss(outcome.final_losses, baseline.final_losses, baseline.weights)
        tried.append(Tried(settings, loss, outcome.tokens + outcome.trial_tokens))
    known = [each for each in tried if each.relative_loss is not None]
    best = min(known, key=lambda each: each.relative_loss or 0.0, default=tried[0])
    return Tuned(best.settings, tuple(tried))
