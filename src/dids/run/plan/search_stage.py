"""The trials of a policy that makes runs of its own: asked for first, then one of a kind is run."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

from dids.atomic import write_json
from dids.mixture.found_mixture import FoundMixture
from dids.mixture.policy import Searches, Trial
from dids.run.plan.calibration import Calibration
from dids.run.plan.estimate import Known, StageEstimate
from dids.run.plan.made_up_trials import AskedTrial, MadeUpTrials
from dids.run.plan.training_stages import Paced, paced, seen, shortened, with_budget
from dids.run.stages.search import NAME
from dids.run.trials import FOLDER, RunTrials


def search(here: Calibration) -> StageEstimate | None:
    """By the steps and rounds of every trial; None where the policy does not search."""
    policy = here.config.mixture.new_policy()
    if not isinstance(policy, Searches):
        here.rehearsed("search", lambda: {"searched": False})
        return None
    trials = MadeUpTrials(replace(here.work, config=with_budget(here)))
    policy.search(trials)
    kinds: dict[tuple[str, str, bool], Paced] = {}
    for trial in trials.asked:
        if trial.kind not in kinds:
            kinds[trial.kind] = _paced_trial(here, trial)
    took = max((found.took for found in kinds.values()), key=lambda each: each.memory_bytes)
    # The small run goes on with what the search made of the trials.
    result = {"trials": [], "policy": policy.state_dict()}
    write_json(here.work.path(NAME), result)
    here.work.folder.mark_done("search", elapsed_s=0.0, searched=True)
    time_s = disk_bytes = 0.0
    for trial in trials.asked:
        found = kinds[trial.kind]
        time_s += found.pace.time_s(trial.tokens / found.tokens_a_step, trial.rounds)
        disk_bytes += found.took.disk_bytes
    return here.estimate(
        "search",
        took,
        Known(time_s, is_measured=False),
        Known(disk_bytes, is_measured=False),
        f"{len(kinds)} short of {len(trials.asked)} trials",
    )


def _paced_trial(here: Calibration, trial: AskedTrial) -> Paced:
    assert here.counts is not None
    num_rounds = min(2, trial.rounds)
    mean_length = here.num_tokens / max(1, here.num_samples)
    whole_steps = max(1, round(trial.tokens / (here.counts.batch_size * mean_length)))
    folder = here.work.path(FOLDER) / "paced"

    def train(num_steps: int) -> Paced:
        config = shortened(here, here.work.config, num_steps, num_rounds)
        trials = RunTrials(replace(here.work, config=config))
        reference = _reference(trials) if trial.has_reference else None

        def run() -> dict[str, Any]:
            trials.run(
                "paced",
                deepcopy(trial.policy),
                model=trial.model,
                rounds=num_rounds,
                reference=reference,
            )
            return {}

        return seen(here, "search", folder, num_rounds, run)

    return paced(train, whole_steps)


def _reference(trials: RunTrials) -> Trial:
    """A model to be compared with; made once."""
    return trials.run("reference", FoundMixture(trials.prior), rounds=1)
