"""A checkpoint of a run whose domains were regrouped since, in the domains of now.

What was drawn stays drawn, domain losses and mixtures go where the samples went, and the policy
keeps what it has learned. Model and optimizer do not know of domains.

Axis letters: j domains of before, k domains of now, n samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dids.domains.regrouping import Regrouping
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import Policy
from dids.sampling.mixture_log import MixtureLog
from dids.sampling.regrouping import OrderedDomains, regrouped_log, regrouped_progress
from dids.sampling.sampler import MixtureSampler

Members = Sequence[np.ndarray]
MakeSampler = Callable[[OrderedDomains], MixtureSampler]


@dataclass(frozen=True)
class Grouping:
    """The domains of a run at one time.

    Attributes:
        names: Of the domains.
        members: Sample ids of each, ascending.
    """

    names: Sequence[str]
    members: Members

    def domain_of_sample(self, num_samples: int) -> np.ndarray:
        """Domain of each of the first samples."""
        domain_n = np.zeros(num_samples, dtype=np.int64)
        for domain, ids in enumerate(self.members):
            domain_n[ids] = domain
        return domain_n

    @property
    def num_samples(self) -> int:
        """Samples of all domains."""
        return sum(len(ids) for ids in self.members)


def ordered_domains(
    groupings: Sequence[Grouping], state: Mapping[str, Any] | None, seed: int
) -> OrderedDomains:
    """The domains of a checkpoint in the order in which they give their samples.

    Args:
        groupings: All of the run, from its beginning.
        state: Of the checkpoint. None: a run that begins, with the last grouping.
        seed: Of the sampler.
    """
    if state is None:
        return OrderedDomains(groupings[-1].members)
    events = state.get("regroupings", [])
    first = events[0]["from"] if events else state.get("grouping", 0)
    ordered = OrderedDomains(groupings[first].members)
    for event in events:
        drawn_j = np.array(event["draws"], dtype=np.int64)
        ordered = ordered.regrouped(drawn_j, groupings[event["to"]].members, seed)
    return ordered


def regrouped_state(
    state: Mapping[str, Any],
    groupings: Sequence[Grouping],
    *,
    policy: Policy,
    limits: MixtureLimits,
    prior: np.ndarray,
    lengths: np.ndarray,
    make_sampler: MakeSampler,
    make_sampler_before: MakeSampler,
    seed: int,
) -> dict[str, Any]:
    """The state of a checkpoint in the domains of now; as it is if they are those of before.

    Args:
        state: What `MixtureRounds.state_dict` gave, with the sums of the domains' losses.
        groupings: All of the run; the last one is to hold.
        policy: Its memory goes through here.
        limits: Of the mixtures to come.
        prior: Share of each domain of now; what a domain of new samples begins with.
        lengths: Tokens of every sample.
        make_sampler: Of the domains of now.
        make_sampler_before: Of the domains of before.
        seed: Of the sampler.
    """
    begun = int(state.get("grouping", 0))
    if begun == len(groupings) - 1:
        return dict(state)
    step = int(state["step"])
    before, now = groupings[begun], groupings[-1]
    ordered = ordered_domains(groupings, state, seed)
    sampler = make_sampler_before(ordered)
    sampler.load_state_dict(state["sampler"])
    progress = sampler.progress(step)
    reordered = ordered.regrouped(progress.drawn_k, now.members, seed)
    num_before, num_now = before.num_samples, now.num_samples
    sides = before.domain_of_sample(num_before), now.domain_of_sample(num_now)
    tokens_n = lengths[:num_now].astype(np.int64)
    by_tokens = Regrouping.between(*sides, tokens_n, before.names, now.names)
    passed_kj = by_tokens.passed_kj
    if sampler.unit == "samples":
        ones = np.ones_like(tokens_n)
        passed_kj = Regrouping.between(*sides, ones, before.names, now.names).passed_kj
    added_k = np.where(by_tokens.is_added_k, prior, 0.0)
    rest = 1.0 - float(added_k.sum())

    def moved(mixture_j: np.ndarray) -> np.ndarray:
        return np.asarray(passed_kj @ mixture_j)

    def moved_later(mixture_j: np.ndarray) -> np.ndarray:
        return limits.project(added_k + rest * moved(mixture_j))

    log = regrouped_log(sampler.log, step, moved, moved_later)
    next_sampler = make_sampler(reordered)
    next_progress = regrouped_progress(
        progress, moved(sampler.credits(step)), log.mixture(step), ordered, reordered, lengths, seed
    )
    next_sampler.start_from(next_progress, log)
    policy.load_state_dict(state["policy"])
    policy.regroup(by_tokens)
    event = {
        "from": begun, "to": len(groupings) - 1, "step": step, "draws": progress.drawn_k.tolist()
    }  # fmt: skip
    told = {
        "round": state["round"], "step": step, "tokens": int(progress.tokens_k.sum()),
        "changes": by_tokens.changes(),
    }  # fmt: skip
    return {
        **state,
        "grouping": len(groupings) - 1,
        "regroupings": [*state.get("regroupings", []), event],
        "sampler": next_sampler.state_dict(step),
        "policy": policy.state_dict(),
        "history": _told(state["history"], told, now.names, moved, moved_later, log),
        "domain_losses": _moved_losses(state["domain_losses"], passed_kj),
    }


def _told(
    history: Mapping[str, Any],
    told: Mapping[str, Any],
    names: Sequence[str],
    moved: Callable[[np.ndarray], np.ndarray],
    moved_later: Callable[[np.ndarray], np.ndarray],
    log: MixtureLog,
) -> dict[str, Any]:
    """The history with the regrouping, its mixtures where their samples went.

    Args:
        history: Of before.
        told: The regrouping.
        names: Of the domains of now.
        moved: A mixture of before the regrouping in the domains of now.
        moved_later: One that holds after it.
        log: The mixtures of now.
    """
    step = told["step"]

    def entry_of_now(entry: Mapping[str, Any]) -> dict[str, Any]:
        then = entry["probability"]
        now = (moved if entry["step"] < step else moved_later)(np.array(list(then.values())))
        shares = dict(zip(names, now.tolist(), strict=True))
        return {"probability_then": then, **entry, "probability": shares}

    present = {
        **{name: told[name] for name in ("round", "step", "tokens")},
        "probability": dict(zip(names, log.mixture(step).tolist(), strict=True)),
        "explanation": {"note": "the domains were regrouped and took their weights along"},
    }
    entries = [entry_of_now(entry) for entry in history["mixture"]]
    return {
        **history,
        "mixture": [
            *(entry for entry in entries if entry["step"] <= step),
            present,
            *(entry for entry in entries if entry["step"] > step),
        ],
        "regroupings": [*history.get("regroupings", []), dict(told)],
    }


def _moved_losses(losses: Mapping[str, Any], passed_kj: np.ndarray) -> dict[str, Any]:
    """Sums of loss and tokens, divided and added up as the samples were."""

    def moved(sum_j2: list[list[float]]) -> list[list[float]]:
        return (passed_kj @ np.array(sum_j2, dtype=np.float64)).tolist()  # type: ignore[no-any-return]

    read_at = {reader: moved(read) for reader, read in losses["read_at"].items()}
    return {"total": moved(losses["total"]), "read_at": read_at}
