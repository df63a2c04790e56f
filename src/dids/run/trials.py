"""The runs that a policy makes before the run, each in a folder of its own under ``search/``."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import PreTrainedModel

from dids.atomic import read_json, write_json
from dids.errors import InputError
from dids.mixture.policy import Policy, Trial, needs_of
from dids.ranks import from_first_rank
from dids.run.steering import steering_follower
from dids.run.training import trained
from dids.run.workspace import Workspace
from dids.training.checkpoints import remove_checkpoints
from dids.training.models import saved_model
from dids.training.train import MODEL_NAME, TrainedRun

FOLDER = "search"
_TRIAL_NAME = "trial.json"


class RunTrials:
    """What `dids.mixture.search.Trials` says, with the data, models and seed of a run.

    On several ranks the policy asks on each of them for the same trials, and is told the same.

    Args:
        work: The run; its domains are known and its impact is measured.

    Attributes:
        accounts: What each trial was and took, in the order in which they were asked for.
    """

    def __init__(self, work: Workspace) -> None:
        self._work = work
        steered = steering_follower(work).at_start()
        self.domain_names = tuple(work.domain_data.names)
        self.task_names = tuple(work.scored_tasks)
        self.task_weights = steered.task_weights
        self.sizes_k = work.domain_data.sizes
        self.prior = steered.prior
        self.limits = steered.limits
        self.budget_tokens = work.config.budget.tokens
        self.seed = work.config.seed
        self.accounts: list[dict[str, Any]] = []

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
        """Train under a policy, unless that was done before, and say what became of the tasks.

        Raises:
            InputError: If the training fails by the user's mistake, or a needed reference is not
                given.
        """
        if any(name == account["name"] for account in self.accounts):
            raise ValueError(f"a trial is called '{name}' already.")
        if needs_of(policy).reference and reference is None:
            raise ValueError(f"the policy of trial '{name}' needs a reference.")
        config = self._work.config
        folder = self._work.path(FOLDER) / name
        tokens = max(1, round(budget * self.budget_tokens))
        rounds = config.mixture.rounds if rounds is None else rounds
        asked = {
            "model": model,
            "tokens": tokens,
            "rounds": rounds,
            "reference": None if reference is None else reference.folder.name,
        }
        mark = folder / _TRIAL_NAME
        before = from_first_rank(lambda: read_json(mark) if mark.exists() else None)
        if before is not None:
            if before["asked"] != asked:
                raise InputError(
                    f"{folder}: this trial was made with {before['asked']}, and {asked} is asked "
                    "for now; remove the folder, or give the run another one."
                )
            self.accounts.append(before)
            return _trial(folder, before)
        folder.mkdir(parents=True, exist_ok=True)
        began_s = time.perf_counter()
        with self._work.progress.bar(f"trial {name}", 1.0) as advance:
            done = trained(
                self._work,
                folder,
                policy,
                model_config=config.proxy_model if model == "proxy" else config.model,
                budget_tokens=tokens,
                num_rounds=rounds,
                reference=None if reference is None else self._model_of(reference),
                on_step=advance,
            )
        elapsed_s = time.perf_counter() - began_s
        drawn = read_json(folder / "drawn.json")
        steps_k = done.history.mixtures(self.domain_names).steps_asked(drawn["steps"])
        mean_k = steps_k / steps_k.sum()
        account = {
            "name": name,
            "asked": asked,
            "tokens": drawn["tokens"],
            "steps": drawn["steps"],
            "elapsed_s": elapsed_s,
            "mixture": dict(zip(self.domain_names, mean_k.tolist(), strict=True)),
        }

        def keep() -> dict[str, Any]:
            write_json(mark, account)
            remove_checkpoints(folder)
            return account

        kept = from_first_rank(keep)
        self.accounts.append(kept)
        return _trial(folder, kept)

    def _model_of(self, trial: Trial) -> PreTrainedModel:
        return saved_model(
            trial.folder / MODEL_NAME,
            self._work.device,
            trust_remote_code=self._work.config.trust_remote_code,
        )


def _trial(folder: Path, account: Mapping[str, Any]) -> Trial:
    history = TrainedRun.load(folder).history
    return Trial(
        folder=folder,
        mean_mixture_k=np.array(list(account["mixture"].values())),
        task_losses={task: tuple(points) for task, points in history.task_losses.items()},
        tokens=account["tokens"],
        elapsed_s=account["elapsed_s"],
    )
