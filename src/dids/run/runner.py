"""Runs the stages that are not done yet, one after another."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from dids.config import Config
from dids.mixture.policy import make_policy
from dids.run.engines import Engine, in_this_process
from dids.run.folder import RunFolder
from dids.run.recorded_progress import PROGRESS_NAME, RecordedProgress
from dids.run.stages import STAGES
from dids.run.stages.check import check_unchanged
from dids.run.stages.tokens import rebuild_damaged
from dids.run.workspace import Progress, Workspace

logger = logging.getLogger(__name__)


def run_stages(
    config: Config,
    folder: RunFolder,
    progress: Progress,
    *,
    last: str,
    engine: Engine = in_this_process,
) -> Workspace:
    """Bring a run up to and including a stage; finished stages are not done again.

    Args:
        config: As resolved.
        folder: The run folder; it is made, or checked against the config.
        progress: Where progress goes.
        last: Name of the stage to stop after.
        engine: Where shards of the corpus are worked on.

    Raises:
        InputError: For any mistake of the user's; the stages finished so far stay.
    """
    # A slip in a policy's name or settings must not wait for stage seven.
    make_policy(config.mixture.policy, **config.mixture.settings)
    recorded = RecordedProgress(progress, folder.path / PROGRESS_NAME)
    with opened_run(config, folder, recorded) as opened:
        work = replace(opened, engine=engine)
        if folder.is_done("check"):
            check_unchanged(work)
        if folder.is_done("tokens") and not folder.is_done(last):
            rebuild_damaged(work)
        for name, stage in STAGES.items():
            if not folder.is_done(name):
                logger.info("stage %s begins", name)
                recorded.begin(name)
                began_s = time.perf_counter()
                facts = stage(work)
                elapsed_s = time.perf_counter() - began_s
                folder.mark_done(name, elapsed_s=elapsed_s, **facts)
                logger.info("stage %s took %.1f s", name, elapsed_s)
            if name == last:
                break
    return work


@contextmanager
def opened_run(config: Config, folder: RunFolder, progress: Progress) -> Iterator[Workspace]:
    """A run folder held for this process, with what is logged going to its file.

    Args:
        config: As resolved.
        folder: The run folder; it is made, or checked against the config.
        progress: Where progress goes.

    Raises:
        InputError: If another process works in it, or it belongs to another config.
    """
    with folder.locked():
        folder.prepare(config)
        handlers = [folder.log_to_file(), log_to_progress(progress)]
        try:
            yield Workspace(config, folder, progress)
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
