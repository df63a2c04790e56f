"""The plan of a run: what there is, what it comes to, and what every stage will take."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from dids.config import Config
from dids.config.batch import batch_size, training_arguments
from dids.data.sources import SourceFiles
from dids.run.counts import RunCounts, run_counts
from dids.run.folder import RunFolder
from dids.run.plan import data_stages, feature_stages, task_stages, training_stages
from dids.run.plan.calibration import Calibration
from dids.run.plan.estimate import StageEstimate
from dids.run.plan.search_stage import search
from dids.run.plan.slices import sliced
from dids.run.plan.stage_clock import StageClock
from dids.run.plan.volumes import Volume, volumes
from dids.run.stages import STAGES
from dids.run.stages.tokenizer import tokenizer_like
from dids.run.workspace import Progress, Split, Workspace, task_files


@dataclass(frozen=True)
class RunPlan:
    """What a run would take.

    Attributes:
        counts: Samples, tokens, steps, features.
        is_exact: True where the data is tokenised already; else lengths are estimated.
        parts: Sources that were read in part, with the fraction of their bytes.
        stages: What each stage will take, in their order; those that the run has nothing to do in
            are missing. Empty without a calibration.
        done_s: Stages that are finished in the run folder, with the seconds that they took.
        num_processes: That the run was planned for.
    """

    counts: RunCounts
    is_exact: bool
    parts: Mapping[str, float]
    stages: tuple[StageEstimate, ...]
    done_s: Mapping[str, float]
    num_processes: int = 1


def run_plan(
    config: Config,
    progress: Progress,
    *,
    calibrate: bool = True,
    num_processes: int = 1,
    now: Callable[[], float] = time.perf_counter,
) -> RunPlan:
    """Count what there is and, with a calibration, see on a small part what the stages take.

    Args:
        config: As resolved.
        progress: Where the calibration's progress goes.
        calibrate: Whether to rehearse the stages; without, nothing is timed.
        num_processes: That the run will be started with. The calibration is one of them, with its
            share of what they divide; what they send each other is in no number.
        now: The clock of the estimates, in seconds: `time.process_time` where others use the
            machine too.

    Returns:
        The plan. Nothing is left behind.

    Raises:
        InputError: For any mistake in the config, its files or its policy.
    """
    config.mixture.new_policy()
    training_arguments(config, num_processes)
    folder = RunFolder(Path(config.run))
    files = [
        SourceFiles(name=name, paths=source.path, format=source.format)
        for name, source in config.data.sources.items()
    ]
    stored = _stored_sizes(config, folder, progress)
    if stored is not None and not calibrate:
        counts = run_counts(config, stored, num_processes)
        return RunPlan(counts, True, {}, (), folder.times_s(), num_processes)
    with progress.bar("reading", len(files)) as advance:
        held = volumes(
            files,
            seed=config.seed,
            on_bad_record=config.data.on_bad_record,
            progress=advance,
            now=now,
        )
    parts = {volume.name: volume.share for volume in held if not volume.is_whole}
    estimates: tuple[StageEstimate, ...] = ()
    if calibrate:
        counts, estimates = _calibrated(config, held, progress, num_processes, now)
    else:
        counts = run_counts(config, _estimated_sizes(config, files, held), num_processes)
    if stored is not None:
        counts = run_counts(config, stored, num_processes)
    done_s = {stage: took for stage, took in folder.times_s().items() if stage in STAGES}
    return RunPlan(counts, stored is not None, parts, estimates, done_s, num_processes)


def _stored_sizes(
    config: Config, folder: RunFolder, progress: Progress
) -> list[tuple[int, int]] | None:
    """Samples and tokens of each source, where they are tokenised already."""
    if not folder.is_done("tokens"):
        return None
    stores = Workspace(config, folder, progress).source_stores
    return [(store.num_samples, store.num_tokens) for store in stores]


def _estimated_sizes(
    config: Config, files: list[SourceFiles], held: list[Volume]
) -> list[tuple[int, int]]:
    tokenizer = tokenizer_like(config, files)
    sizes = []
    for volume in held:
        size = volume.estimate.size(
            tokenizer,
            sequence_length=config.data.sequence_length,
            prompt_format=config.data.prompt_format,
        )
        sizes.append((round(size.samples / volume.share), round(size.tokens / volume.share)))
    return sizes


def _calibrated(
    config: Config,
    held: list[Volume],
    progress: Progress,
    num_processes: int,
    now: Callable[[], float],
) -> tuple[RunCounts, tuple[StageEstimate, ...]]:
    tasks = {split: _task_volumes(config, split, now) for split in ("validation", "test")}
    sources = {volume.name: volume for volume in held}
    with (
        TemporaryDirectory(prefix="dids-plan-") as temporary,
        progress.bar("calibrating", len(STAGES)) as advance,
    ):
        small, slices = sliced(config, sources, tasks, Path(temporary))
        # What the first process does alone, it does on the batches of all.
        samples = batch_size(config, num_processes)
        budget = small.budget.model_copy(update={"batch_size": samples})
        small = small.model_copy(update={"budget": budget})
        clock = StageClock(now)
        folder = RunFolder(Path(small.run))
        folder.prepare(small)
        work = Workspace(small, folder, clock)
        here = Calibration(config, work, clock, sources, tasks, slices, num_processes)
        estimates = _rehearsed_stages(here, Path(temporary), lambda: advance(1))
        assert here.counts is not None
        return here.counts, tuple(each for each in estimates if each is not None)


def _rehearsed_stages(
    here: Calibration, scratch: Path, done: Callable[[], None]
) -> list[StageEstimate | None]:
    """The estimates of the stages, in their order; None where one has nothing to do."""
    found: list[StageEstimate | None] = []

    def note(estimate: StageEstimate | None) -> None:
        found.append(estimate)
        done()

    note(data_stages.check(here))
    note(data_stages.tokenizer(here))
    note(data_stages.tokens(here))
    note(training_stages.proxy(here))
    for estimate in feature_stages.features_and_domains(here, scratch / "made_up"):
        note(estimate)
    note(task_stages.impact(here))
    note(search(here))
    for estimate in training_stages.run_and_control(here):
        note(estimate)
    note(task_stages.evaluate(here))
    note(task_stages.report(here))
    return found


def _task_volumes(config: Config, split: Split, now: Callable[[], float]) -> dict[str, Volume]:
    files = [
        replace(task_files(name, task, split), name=name) for name, task in config.tasks.items()
    ]
    held = volumes(
        files, seed=config.seed, purpose="task", on_bad_record=config.data.on_bad_record, now=now
    )
    return {volume.name: volume for volume in held}
