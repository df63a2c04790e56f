"""One HTML file that tells what a run did; it opens offline.

``record`` is what the report knows of a run, ``story`` says it in five sentences, ``tables`` and
``charts`` hold what the page shows, ``page`` writes it.
"""

from dids.report.page import write_report
from dids.report.record import RunRecord, read_run_record

__all__ = ["RunRecord", "read_run_record", "write_report"]
