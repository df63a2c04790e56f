"""Runs the stages that are not done yet, one after another."""

import logging
import time

from dids.config import Config
from dids.run.folder import RunFolder
from dids.run.recorded_progress import PROGRESS_NAME, RecordedProgress
from dids.run.stages import STAGES
from dids.run.stages.tokens import check_unchanged
from dids.run.workspace import Progress, Workspace

logger = logging.getLogger(__name__)


def run_stages(config: Config, folder: RunFolder, progress: Progress, *, last: str) -> Workspace:
    """Bring a run up to and including a stage; finished stages are not done again.

    Args:
        config: As resolved.
        folder: The run folder; it is made, or checked against the config.
        progress: Where progress goes.
        last: Name of the stage to stop after.

    Raises:
        InputError: For any mistake of the user's; the stages finished so far stay.
    """
    with folder.locked():
        folder.prepare(config)
        handlers = [folder.log_to_file(), log_to_progress(progress)]
        try:
            recorded = RecordedProgress(progress, folder.path / PROGRESS_NAME)
            work = Workspace(config, folder, recorded)
            if folder.is_done("tokens"):
                check_unchanged(work)
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
        finally:
            for handler in handlers:
                logging.getLogger("dids").removeHandler(handler)
                handler.close()
    return work


def log_to_progress(progress: Progress) -> logging.Handler:
    """Say the package's warnings, such as a damaged file's name, to the person who waits."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            progress.say(self.format(record))

    handler = Handler(logging.WARNING)
    logging.getLogger("dids").addHandler(handler)
    return handler
