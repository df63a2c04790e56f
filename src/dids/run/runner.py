"""Runs the stages that are not done yet, one after another."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from dids.config import Config
from dids.config.batch import training_arguments
from dids.ranks import is_first_rank
from dids.run.engines import AllRanks, Engine
from dids.run.folder import RunFolder
from dids.run.launched_ranks import LaunchedRanks, Meanwhile
from dids.run.products import forget_damaged, product_checksums
from dids.run.recorded_progress import PROGRESS_NAME, RecordedProgress
from dids.run.stages import ON_ALL_RANKS, STAGES
from dids.run.stages.check import check_unchanged
from dids.run.stages.tokens import rebuild_damaged
from dids.run.workspace import Progress, Workspace
from dids.training.models import check_architecture
from dids.training.stop_signal import StopSignal

logger = logging.getLogger(__name__)


def run_stages(
    config: Config,
    folder: RunFolder,
    progress: Progress,
    *,
    last: str,
    engine: Engine | None = None,
    ranks: LaunchedRanks | None = None,
    stop: StopSignal | None = None,
) -> Workspace:
    """Bring a run up to and including a stage; finished stages are not done again.

    On several ranks every rank calls it alike: the first does the stages, with shards of the corpus
    done by the others, too; those that train all do.

    Args:
        config: As resolved.
        folder: The run folder; it is made, or checked against the config.
        progress: Where progress goes.
        last: Name of the stage to stop after.
        engine: Where shards of the corpus are worked on. None: in all processes of the run.
        ranks: The processes of the run. None: there is this one.
        stop: Ends a training run after a step. None: nothing does.

    Raises:
        InputError: For any mistake of the user's; the stages finished so far stay.
    """
    # A slip in what is made last must not wait for stage seven.
    config.mixture.new_policy()
    ranks = ranks or LaunchedRanks()
    ranks.check()
    training_arguments(config, ranks.num)
    ranks.from_first(partial(_check_models, config, folder))
    if ranks.is_first:
        progress = RecordedProgress(progress, folder.path / PROGRESS_NAME)
    all_ranks = AllRanks(ranks)
    with opened_run(config, folder, progress, ranks, stop) as opened:
        work = replace(opened, engine=engine or all_ranks)

        def check() -> None:
            if not folder.is_done(last):
                forget_damaged(folder)
            if folder.is_done("check"):
                check_unchanged(work)
            if folder.is_done("tokens") and not folder.is_done(last):
                rebuild_damaged(work)

        ranks.from_first(check, meanwhile=all_ranks.help)
        for name in STAGES:
            if not ranks.from_first(partial(folder.is_done, name)):
                _run_stage(work, name, meanwhile=all_ranks.help)
            if name == last:
                break
    return work


def _check_models(config: Config, folder: RunFolder) -> None:
    """Refuse models that stages to come could not make."""
    checked = partial(
        check_architecture,
        sequence_length=config.data.sequence_length,
        trust_remote_code=config.trust_remote_code,
    )
    if not folder.is_done("train"):
        checked(config.model, "model")
    # Of a model with adapters the proxy is the model without them, whose own weights must be whole.
    differs = config.has_own_proxy or config.model.lora is not None
    if differs and not folder.is_done("proxy"):
        checked(config.proxy_model, "proxy")


def _run_stage(work: Workspace, name: str, *, meanwhile: Meanwhile) -> None:
    """Run a stage and mark it as done: on all ranks where it trains, else on the first.

    Args:
        work: The run.
        name: Of the stage.
        meanwhile: What the others do where the first runs it.
    """
    stage, ranks, folder = STAGES[name], work.ranks, work.folder

    def begin() -> None:
        logger.info("stage %s begins", name)
        if isinstance(work.progress, RecordedProgress):
            work.progress.begin(name)

    def end(facts: dict[str, Any]) -> None:
        elapsed_s = spent_s + time.perf_counter() - began_s
        checksums = product_checksums(folder.path, name)
        left = {"checksums": checksums} if checksums else {}
        folder.mark_done(name, elapsed_s=elapsed_s, **left, **facts)
        folder.keep_spent(name, 0.0)
        logger.info("stage %s took %.1f s", name, elapsed_s)

    def alone() -> None:
        begin()
        end(stage(work))

    spent_s, began_s = folder.spent_s(name), time.perf_counter()
    try:
        if name in ON_ALL_RANKS:
            ranks.from_first(begin)
            with ranks.together(work.config.training):
                facts = stage(work)
            ranks.from_first(lambda: end(facts))
        else:
            ranks.from_first(alone, meanwhile=meanwhile)
    except BaseException:
        if is_first_rank() and not folder.is_done(name):
            with suppress(OSError):  # of a full disk; what stopped the stage is to be told
                folder.keep_spent(name, spent_s + time.perf_counter() - began_s)
        raise


@contextmanager
def opened_run(
    config: Config,
    folder: RunFolder,
    progress: Progress,
    ranks: LaunchedRanks | None = None,
    stop: StopSignal | None = None,
) -> Iterator[Workspace]:
    """A run folder held for the processes of a run, with what is logged going to its file.

    Args:
        config: As resolved.
        folder: The run folder; it is made, or checked against the config.
        progress: Where progress goes.
        ranks: The processes; the first holds the folder. None: there is this one.
        stop: Ends a training run after a step. None: nothing does.

    Raises:
        InputError: If another process works in it, or it belongs to another config.
    """
    ranks = ranks or LaunchedRanks()
    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(folder.locked())
            folder.prepare(config)

        ranks.from_first(hold)
        handlers = [folder.log_to_file(ranks.number), log_to_progress(progress)]
        try:
            yield Workspace(config, folder, progress, ranks=ranks, stop=stop or StopSignal())
        finally:
            for handler in handlers:
                logging.getLogger("dids").removeHandler(handler)
                handler.close()


def log_to_progress(progress: Progress) -> logging.Handler:
    """Say the package's warnings, such as a damaged file's name, to the person who waits."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            progress.say(self.format(record))

    handler = Handler(logging.WARNING)
    logging.getLogger("dids").addHandler(handler)
    return handler
