"""Stage seven: the trials of a policy that makes runs of its own before the run."""

from typing import Any

from dids.atomic import read_json, write_json
from dids.mixture.policy import Policy, Searches
from dids.ranks import from_first_rank
from dids.run.trials import RunTrials
from dids.run.workspace import Workspace

NAME = "search.json"


def run(work: Workspace) -> dict[str, Any]:
    """Write ``search.json`` with what the policy found; nothing where it does not search."""
    policy = work.config.mixture.new_policy()
    if not isinstance(policy, Searches):
        return {"searched": False}
    trials = RunTrials(work)
    policy.search(trials)
    accounts = trials.accounts
    found = {"trials": accounts, "policy": policy.state_dict()}
    from_first_rank(lambda: write_json(work.path(NAME), found))
    return {
        "searched": True,
        "tokens": sum(account["tokens"] for account in accounts),
        "trials_s": sum(account["elapsed_s"] for account in accounts),
    }


def searched_policy(work: Workspace) -> Policy:
    """The run's policy, with what it has found."""
    policy = work.config.mixture.new_policy()
    if isinstance(policy, Searches):
        policy.load_state_dict(read_json(work.path(NAME))["policy"])
    return policy


def trial_accounts(work: Workspace) -> list[dict[str, Any]]:
    """Name, tokens and seconds of every trial; none where the policy does not search."""
    if not work.path(NAME).exists():
        return []
    kept = ("name", "tokens", "elapsed_s")
    trials = read_json(work.path(NAME))["trials"]
    return [{key: trial[key] for key in kept} for trial in trials]
