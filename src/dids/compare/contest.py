"""A contest from its first run to its standings: a list that can be read downwards.

Whatever is there already is not done again, so a contest goes on where it was stopped, and more
entrants and seeds may join one that is over.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from dids.compare.best_fixed import search_settings, with_found_mixture
from dids.compare.entrants import BASELINE, BEST_FIXED, Entrant, check_settings
from dids.compare.layout import PREPARED, ContestFolder, PlannedRun
from dids.compare.outcome import Outcome, read_outcome
from dids.compare.prepared import take_over
from dids.compare.seeds import tuning_seed
from dids.compare.tuning import Tried, Tuned, tuned
from dids.compare.watching import contest_progress
from dids.compare.workers import Work, Workers
from dids.config import Config
from dids.errors import InputError
from dids.run.folder import RunFolder


@dataclass(frozen=True)
class Failure:
    """A run that came to no end.

    Attributes:
        entrant: Whose.
        seed: Of the run.
        sentence: Why.
    """

    entrant: str
    seed: int
    sentence: str


@dataclass(frozen=True)
class Finished:
    """A contest that is over.

    Attributes:
        config: What all runs had in common.
        entrants: Who took part.
        seeds: Of the runs.
        tuning_seed: Of the runs that settings, and the best fixed mixture, were searched with.
        settings: By entrant, what it ran with, and what was tried.
        outcomes: By entrant and seed.
        failures: Of runs, in no one's outcomes.
        prepared_s: By seed, seconds of each stage that all share.
    """

    config: Config
    entrants: tuple[Entrant, ...]
    seeds: tuple[int, ...]
    tuning_seed: int
    settings: Mapping[str, Tuned]
    outcomes: Mapping[str, Mapping[int, Outcome]]
    failures: tuple[Failure, ...]
    prepared_s: Mapping[int, Mapping[str, float]]


_Runs = dict[tuple[Entrant, int], PlannedRun]
"""By entrant, and seed or number of the settings."""


class Contest:
    """Runs a contest in a folder.

    Args:
        folder: Where, and with which config.
        entrants: Who takes part; the baseline among them.
        seeds: Every entrant runs with each.
        tune: How many settings of each entrant are tried; 0: the default ones are taken.
        workers: Where runs are done.
        console: Where progress goes.
    """

    def __init__(
        self,
        folder: ContestFolder,
        entrants: Sequence[Entrant],
        seeds: Sequence[int],
        *,
        tune: int,
        workers: Workers,
        console: Console,
    ) -> None:
        self.folder, self.entrants, self.seeds = folder, tuple(entrants), tuple(seeds)
        self.tune, self.workers, self.console = tune, workers, console
        self.tuning_seed = tuning_seed(self.seeds)
        self.failures: list[Failure] = []

    def finished(self) -> Finished:
        """Do what is missing of the contest.

        Raises:
            InputError: If the folder is another contest's, an entrant fits no config, or the
                baseline comes to no end.
        """
        rivals = [entrant for entrant in self.entrants if entrant.name != BEST_FIXED]
        for entrant in self.entrants:
            self.folder.run(entrant, entrant.settings, self.seeds[0])  # a slip must not wait
        self._prepare(self.seeds)
        settings = self._tuned(rivals)
        outcomes = self._outcomes("contest", self._runs(rivals, settings))
        if not outcomes[BASELINE]:
            raise InputError(f"{BASELINE} came to no end: {self.failures[0].sentence}")
        best = next((entrant for entrant in self.entrants if entrant.name == BEST_FIXED), None)
        if best is not None:
            finished = {each: outcomes[each.name] for each in rivals if outcomes[each.name]}
            settings[BEST_FIXED], is_found = self._searched(best, finished)
            if is_found:
                outcomes |= self._outcomes("best fixed mixture", self._best_runs(best))
        return Finished(
            config=self.folder.common,
            entrants=self.entrants,
            seeds=self.seeds,
            tuning_seed=self.tuning_seed,
            settings=settings,
            outcomes=outcomes,
            failures=tuple(self.failures),
            prepared_s={seed: self.folder.prepared(seed).folder.times_s() for seed in self.seeds},
        )

    def _prepare(self, seeds: Sequence[int], *, is_tuning: bool = False) -> None:
        """The stages that all runs of a seed share."""
        runs = [self.folder.prepared(seed, is_tuning=is_tuning) for seed in seeds]
        works = [Work(run, "impact", "impact") for run in runs]
        # The first one writes the tokens that all read; two would be in each other's way.
        for part in (works[:1], works[1:]):
            for failure in self._done("shared stages", part).values():
                raise InputError(failure)

    def _tuned(self, entrants: Sequence[Entrant]) -> dict[str, Tuned]:
        """The settings of every entrant, after those runs that are needed to choose them."""
        candidates = {each.name: each.searched[: max(1, self.tune)] for each in entrants}
        for entrant in entrants:
            for settings in candidates[entrant.name]:
                check_settings(entrant, settings)
        if all(len(found) == 1 for found in candidates.values()):
            return {name: Tuned(found[0]) for name, found in candidates.items()}
        self._prepare([self.tuning_seed], is_tuning=True)
        outcomes = self._outcomes(
            "search for settings",
            {
                (each, number): self.folder.run(
                    each, settings, self.tuning_seed, trial=f"{each.folder_name}-{number}"
                )
                for each in entrants
                for number, settings in enumerate(candidates[each.name])
                if each.name == BASELINE or len(candidates[each.name]) > 1
            },
        )
        if not outcomes[BASELINE]:
            raise InputError(f"{BASELINE} came to no end: {self.failures[0].sentence}")
        baseline = outcomes[BASELINE][0]
        return {
            name: tuned(found, outcomes[name], baseline) if len(found) > 1 else Tuned(found[0])
            for name, found in candidates.items()
        }

    def _runs(self, entrants: Sequence[Entrant], settings: Mapping[str, Tuned]) -> _Runs:
        """Every entrant with every seed."""
        return {
            (each, seed): self.folder.run(each, settings[each.name].settings, seed)
            for seed in self.seeds
            for each in entrants
        }

    def _searched(
        self, best: Entrant, rivals: Mapping[Entrant, Iterable[int]]
    ) -> tuple[Tuned, bool]:
        """What the search for the best fixed mixture took, and whether it came to an end."""
        self._prepare([self.tuning_seed], is_tuning=True)
        settings = search_settings(self.folder, best, rivals, self.tuning_seed)
        run = self.folder.run(best, settings, self.tuning_seed, trial=best.folder_name)
        found = self._outcomes("search for the best fixed mixture", {(best, self.tuning_seed): run})
        tokens = sum(each.tokens + each.trial_tokens for each in found[best.name].values())
        return Tuned(settings, (Tried(settings, tokens=tokens),)), bool(found[best.name])

    def _best_runs(self, best: Entrant) -> _Runs:
        """The mixture that was found, with every seed."""
        ready = {
            seed: with_found_mixture(self.folder, best, self.tuning_seed, seed)
            for seed in self.seeds
        }
        return {(each, seed): self.folder.run(each, each.settings, seed)
                for seed, each in ready.items()}  # fmt: skip

    def _outcomes(self, title: str, runs: _Runs) -> dict[str, dict[int, Outcome]]:
        """Do runs and read what came out, by entrant and number; who failed is written down."""
        works = [Work(run, "run", "report", partial(self._take_over, run)) for run in runs.values()]
        failed = self._done(title, works)
        outcomes: dict[str, dict[int, Outcome]] = {}
        for (entrant, number), run in runs.items():
            own, path = outcomes.setdefault(entrant.name, {}), run.folder.path
            try:
                if str(path) in failed:
                    raise InputError(failed[str(path)])
                own[number] = read_outcome(path)
            except InputError as error:
                self.failures.append(Failure(entrant.name, run.config.seed, str(error)))
        return outcomes

    def _take_over(self, run: PlannedRun) -> None:
        prepared = RunFolder(run.folder.path.parent / PREPARED)
        take_over(prepared, run.folder, with_impact=run.takes_impact)

    def _done(self, title: str, works: Sequence[Work]) -> dict[str, str]:
        for work in works:
            work.run.folder.prepare(work.run.config)  # or it is another run
        left = sum(not work.is_done for work in works)
        if not left:
            return {}
        with contest_progress(title, left, self.console) as watcher:
            return self.workers.do(works, watcher)
