"""From what a person said to numbers: limits, prior and task weights of a run's own domains.

Axis letters: k domains, m sums, t tasks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from dids.config.steering import Limits, Steering
from dids.mixture.conflict import NamedLimit, conflict
from dids.mixture.limits import MixtureLimits
from dids.mixture.prior import prior_with_shares
from dids.steering.names import FieldError, KnownNames

_SHOWN_NAMES = 4


@dataclass(frozen=True)
class ResolvedSteering:
    """What a steering means for the domains and tasks of a run.

    Attributes:
        limits: What every mixture keeps.
        prior: The mixture to start from and to fall back on.
        task_weights: Of the scored tasks, summing to 1.
    """

    limits: MixtureLimits
    prior: Float64[np.ndarray, " k"]
    task_weights: Float64[np.ndarray, " t"]


def resolved(steering: Steering, names: KnownNames) -> ResolvedSteering:
    """Numbers for the domains and tasks that there are.

    All that is said of a domain holds at once; only ``mixture.floor`` yields. It is a fraction of
    the domain's share in the mixture nearest to uniform within everything else, so it contradicts
    nothing.

    Raises:
        FieldError: If a name or pattern fits nothing, no mixture keeps all the limits, none has all
            the priors' shares, or no scored task has a weight. The sentence names the fields that
            contradict each other.
    """
    num_domains = len(names.domains)
    said = [*_of_domains(steering, names), *_of_sums(steering, names)]
    limits = [each for each in said if isinstance(each, NamedLimit)]
    found = conflict(limits, num_domains)
    if found:
        raise _contradiction(found)
    priors = [each for each in said if isinstance(each, _Prior)]
    return ResolvedSteering(
        _limits(limits, steering.mixture.floor, num_domains),
        _prior(priors, num_domains),
        _weights(steering, names),
    )


@dataclass(frozen=True)
class _Prior:
    """The share that sums of domains have in the prior."""

    field: tuple[str, ...]
    row_mk: np.ndarray
    share: float


_Said = NamedLimit | _Prior


def _of_domains(steering: Steering, names: KnownNames) -> Iterator[_Said]:
    identity_kk = np.eye(len(names.domains))
    for pattern, limits in steering.mixture.domains.items():
        field = ("mixture", "domains", pattern)
        fitting = names.domains_like(pattern, field)
        shown = [names.domains[k] for k in fitting[:_SHOWN_NAMES]]
        dots = ", …" if len(fitting) > _SHOWN_NAMES else ""
        each = (
            "" if len(fitting) == 1 else f" for each of {len(fitting)} ({', '.join(shown)}{dots})"
        )
        yield from _said(field, limits, identity_kk[fitting], each)


def _of_sums(steering: Steering, names: KnownNames) -> Iterator[_Said]:
    for source, limits in steering.data.sources.items():
        field = ("data", "sources", source)
        yield from _said(field, limits, names.source_row([source], field)[None], "")
    for group, limits in steering.mixture.groups.items():
        field = ("mixture", "groups", group)
        row_k = names.source_row(limits.sources, (*field, "sources"))
        for pattern in limits.domains:
            row_k[names.domains_like(pattern, (*field, "domains"))] = 1.0
        yield from _said(field, limits, row_k[None], "")


def _said(field: tuple[str, ...], limits: Limits, row_mk: np.ndarray, each: str) -> Iterator[_Said]:
    words = {"floor": limits.floor, "cap": limits.cap, "pin": limits.pin}
    for word, value in words.items():
        if value is not None:
            lower = -np.inf if word == "cap" else value
            upper = np.inf if word == "floor" else value
            bounds = np.full(len(row_mk), lower), np.full(len(row_mk), upper)
            yield NamedLimit((*field, word), f"{value:g}{each}", row_mk, *bounds)
    if limits.prior is not None:
        yield _Prior((*field, "prior"), row_mk, limits.prior)


def _is_of_domains(limit: NamedLimit) -> bool:
    return limit.field[:2] == ("mixture", "domains")


def _limits(said: list[NamedLimit], floor: float, num_domains: int) -> MixtureLimits:
    """What was said, and the general floor of every domain of which no floor was said."""
    lower_k, upper_k, has_own_floor_k = _bounds(said, num_domains)
    limits = _with_sums(said, lower_k, upper_k)
    uniform_k = np.full(num_domains, 1.0 / num_domains)
    within_k = limits.project(uniform_k)
    if within_k is not uniform_k:  # a hair less, or rounding would leave no room at a floor of 1
        within_k = np.minimum(uniform_k, (1.0 - 1e-6) * within_k)
    general_k = np.maximum(lower_k, floor * within_k)
    return _with_sums(said, np.where(has_own_floor_k, lower_k, general_k), upper_k)


def _bounds(said: list[NamedLimit], num_domains: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Floors and caps of single domains, and of which one a floor was said."""
    lower_k, upper_k = np.zeros(num_domains), np.ones(num_domains)
    has_own_floor_k = np.zeros(num_domains, dtype=bool)
    for limit in said:
        if _is_of_domains(limit):
            fits_k = limit.row_mk.any(axis=0)
            lower, upper = float(limit.lower_m[0]), float(limit.upper_m[0])
            lower_k = np.where(fits_k, np.maximum(lower_k, lower), lower_k)
            upper_k = np.where(fits_k, np.minimum(upper_k, upper), upper_k)
            has_own_floor_k |= fits_k & np.isfinite(lower)
    return lower_k, upper_k, has_own_floor_k


def _contradiction(found: list[NamedLimit]) -> FieldError:
    *others, last = found
    if not others:
        return FieldError(
            last.field,
            f"{last.sentence} cannot be kept, because the shares of all domains add up to 1.",
        )
    listed = " and ".join(f"'{'.'.join(limit.field)}' {limit.sentence}" for limit in others)
    return FieldError(
        last.field,
        f"{last.sentence} contradicts {listed}: no mixture, whose shares add up to 1, keeps "
        f"{'both' if len(others) == 1 else 'them all'}; change one of them.",
    )


def _with_sums(said: list[NamedLimit], lower_k: np.ndarray, upper_k: np.ndarray) -> MixtureLimits:
    """Bounds of domains with those of sums; floor and cap of one sum are one row."""
    lower_by_sum: dict[tuple[str, ...], float] = {}
    upper_by_sum: dict[tuple[str, ...], float] = {}
    row_by_sum: dict[tuple[str, ...], np.ndarray] = {}
    for limit in said:
        if not _is_of_domains(limit):
            name = limit.field[:-1]
            row_by_sum[name] = limit.row_mk[0]
            lower_by_sum[name] = max(lower_by_sum.get(name, 0.0), float(limit.lower_m[0]))
            upper_by_sum[name] = min(upper_by_sum.get(name, 1.0), float(limit.upper_m[0]))
    if not row_by_sum:
        return MixtureLimits(lower_k, upper_k)
    return MixtureLimits(
        lower_k,
        upper_k,
        np.stack(list(row_by_sum.values())),
        np.array(list(lower_by_sum.values())),
        np.array(list(upper_by_sum.values())),
        tuple(".".join(name) for name in row_by_sum),
    )


def _prior(priors: list[_Prior], num_domains: int) -> np.ndarray:
    if not priors:
        return np.full(num_domains, 1.0 / num_domains)
    share_m = np.concatenate([np.full(len(prior.row_mk), prior.share) for prior in priors])
    prior_k = prior_with_shares(np.vstack([prior.row_mk for prior in priors]), share_m)
    if prior_k is None:
        listed = ", ".join(f"'{'.'.join(prior.field)}' {prior.share:g}" for prior in priors)
        raise FieldError(
            priors[-1].field,
            f"no mixture has all of these shares: {listed}; they must leave something for every "
            "domain and add up to at most 1.",
        )
    return prior_k


def _weights(steering: Steering, names: KnownNames) -> np.ndarray:
    for task in steering.tasks:
        names.check_task(task, ("tasks", task))
    default = 1.0
    weight_t = np.array(
        [
            steering.tasks[task].weight if task in steering.tasks else default
            for task in names.scored_tasks
        ]
    )
    if len(weight_t) and weight_t.sum() == 0.0:
        raise FieldError(
            ("tasks",), "every task with a loss has weight 0; give one of them a weight above it."
        )
    return np.asarray(weight_t / weight_t.sum()) if len(weight_t) else weight_t
