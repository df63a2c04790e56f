"""The best fixed mixture in hindsight: searched once, run with every seed.

It is searched on the tuning seed, whose domains are its own; a mixture goes from seed to seed by
the samples that it draws.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np

from dids.atomic import write_json
from dids.compare.entrants import Entrant, policy_class
from dids.compare.given_mixture import GivenMixture
from dids.compare.layout import PREPARED, ContestFolder
from dids.compare.outcome import mean_mixture
from dids.compare.transport import carried_over
from dids.domains.domains import Domains
from dids.report.record import read_run_record

_GIVEN = f"{GivenMixture.__module__}:{GivenMixture.__qualname__}"
_SETTING = "candidates"


def search_settings(
    folder: ContestFolder, best: Entrant, rivals: Mapping[Entrant, Iterable[int]], tuning_seed: int
) -> dict[str, Any]:
    """The settings of the search: where the policy can look at them, with all rivals' mixtures.

    Args:
        folder: Of the contest.
        best: Who searches.
        rivals: The others, with the seeds that they finished.
        tuning_seed: That the search is made with.
    """
    if _SETTING not in signature(policy_class(best.policy)).parameters:
        return dict(best.settings)
    path = folder.place(tuning_seed, is_tuning=True) / "candidates.json"
    if not path.exists():  # a search that has begun keeps the candidates that it began with
        now = _domains(folder, tuning_seed, is_tuning=True)
        write_json(path, [_mean(folder, rival, seeds, now) for rival, seeds in rivals.items()])
    return {**best.settings, _SETTING: str(path)}


def with_found_mixture(
    folder: ContestFolder, best: Entrant, tuning_seed: int, seed: int
) -> Entrant:
    """The entrant that runs a seed with what the search has found."""
    searched = folder.place(tuning_seed, is_tuning=True) / best.folder_name
    found = read_run_record(searched / "result.json").mixture[-1].probability
    before = _domains(folder, tuning_seed, is_tuning=True)
    path = folder.place(seed) / f"{best.folder_name}.json"
    write_json(path, carried_over(found, before, _domains(folder, seed)))
    return replace(best, policy=_GIVEN, settings={"path": str(path)}, impact={})


def _mean(
    folder: ContestFolder, rival: Entrant, seeds: Iterable[int], now: Domains
) -> dict[str, float]:
    """A rival's mixture, averaged over its steps and seeds."""
    carried = []
    for seed in seeds:
        record = read_run_record(folder.place(seed) / rival.folder_name / "result.json")
        carried.append(carried_over(mean_mixture(record), _domains(folder, seed), now))
    return {name: float(np.mean([each[name] for each in carried])) for name in now.names}


def _domains(folder: ContestFolder, seed: int, *, is_tuning: bool = False) -> Domains:
    return Domains.load(folder.place(seed, is_tuning=is_tuning) / PREPARED / "domains")
