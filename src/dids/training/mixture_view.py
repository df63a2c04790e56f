"""What a policy function sees of a run, and how its answer reaches every rank."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dids.errors import InputError
from dids.ranks import from_first_rank
from dids.sampling.usage import DomainUsage
from dids.training.domain_settings import weight_of

Weights = Mapping[str, float]


@dataclass(frozen=True)
class MixtureView:
    """What a policy function sees.

    Attributes:
        step: Optimizer steps done.
        mixture: The newest mixture, whether it holds yet or not.
        losses: Mean training loss of each domain since the policy was last asked, over all ranks;
            None where nothing was scored, or without ``DidsMixin``.
        metrics: The newest ``eval_...`` numbers of all evaluation sets together, and of those with
            a name ``task_loss/NAME``.
        usage: Draws, epochs and what is left of each domain.
    """

    step: int
    mixture: dict[str, float]
    losses: dict[str, float | None]
    metrics: dict[str, float]
    usage: dict[str, DomainUsage]


MixturePolicy = Callable[[MixtureView], Weights | None]
"""Gives the next mixture, or None to keep the present one. It may have ``state_dict()`` and
``load_state_dict(state)``, with plain JSON values."""


def answer_of(policy: MixturePolicy, view: MixtureView) -> dict[str, float] | None:
    """What a policy answers on the first rank, on every rank.

    Raises:
        InputError: If it is neither a mapping nor None.
    """
    answer: dict[str, float] | None = from_first_rank(lambda: _plain(policy(view)))
    return answer


def _plain(answer: object) -> dict[str, float] | None:
    if answer is None:
        return None
    if not isinstance(answer, Mapping):
        raise InputError(
            "policy: its answer must be a mapping from domains to weights, or None to keep the "
            f"mixture, but it is {answer!r}."
        )
    return {name: weight_of("policy", name, weight) for name, weight in answer.items()}
