"""What ``dids compare`` does: reads what was asked for, runs the contest, writes the result."""

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from dids.atomic import write_json
from dids.compare.contest import Contest
from dids.compare.entrants import entrants_of
from dids.compare.layout import PAGE_NAME, RESULT_NAME, ContestFolder
from dids.compare.page import write_page
from dids.compare.result import contest_result, contest_standings
from dids.compare.seeds import parsed_seeds
from dids.compare.table import print_contest
from dids.compare.workers import Workers, default_jobs, num_cores
from dids.config import Config
from dids.run.folder import RunFolder


@dataclass(frozen=True)
class ContestOptions:
    """The options of the command.

    Attributes:
        policies: Who takes part.
        seeds: As people write them.
        tune: Settings to try of each entrant.
        jobs: Runs at a time. None: as the machine allows.
        out: Folder of the contest. None: beside the config's run.
    """

    policies: str
    seeds: str
    tune: int = 0
    jobs: int | None = None
    out: Path | None = None


def run_contest(config: Config, options: ContestOptions, console: Console | None = None) -> int:
    """Run a contest, or what is missing of it; print and write the standings.

    Args:
        config: What all runs have in common.
        options: As asked for.
        console: Where the standings are printed.

    Returns:
        How many runs failed.

    Raises:
        InputError: For any mistake of the user's; the runs finished so far stay.
    """
    seeds, entrants = parsed_seeds(options.seeds), entrants_of(options.policies)
    path = (options.out or Path(f"{config.run}-compare")).absolute()
    cores = num_cores()
    jobs = options.jobs or default_jobs(cores, torch.cuda.is_available())
    folder = ContestFolder(path, config)
    folder.refuse_strangers()
    with RunFolder(path).locked():
        folder.prepare()
        contest = Contest(
            folder,
            entrants,
            seeds,
            tune=options.tune,
            workers=Workers(jobs, max(1, cores // jobs), path / "output"),
            console=Console(stderr=True, markup=False),
        ).finished()
        rows = contest_standings(contest)
        write_json(path / RESULT_NAME, contest_result(contest, rows))
        write_page(path / PAGE_NAME, contest, rows)
    console = console or Console(markup=False)
    print_contest(contest, rows, console)
    console.print(f"{path / PAGE_NAME}", highlight=False, soft_wrap=True)
    return len(contest.failures)
