"""What ``dids audit`` does: brings the run up to its impact, audits it, prints and draws."""

from pathlib import Path

from rich.console import Console

from dids.audit import wording
from dids.audit.audit import FOLDER_NAME, Audit, AuditSettings, audited
from dids.audit.page import PAGE_NAME, write_page
from dids.config import Config
from dids.report.terminal import text_table
from dids.run.folder import RunFolder
from dids.run.runner import opened_run
from dids.run.workspace import Progress


def audit_run(
    config: Config, settings: AuditSettings, progress: Progress, console: Console | None = None
) -> Audit:
    """Audit a run that has its impact.

    Args:
        config: As resolved.
        settings: What to do.
        progress: Where progress goes.
        console: Where the result is printed.

    Raises:
        InputError: For any mistake of the user's; the domains done so far stay.
    """
    with opened_run(config, RunFolder(Path(config.run)), progress) as work:
        audit = audited(work, settings)
        page = work.path(FOLDER_NAME) / PAGE_NAME
        write_page(page, audit)
    console = console or Console(markup=False)
    console.print(text_table(wording.TITLES, wording.table_rows(audit)))
    for line in [*wording.sentences(audit), str(page)]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    return audit
