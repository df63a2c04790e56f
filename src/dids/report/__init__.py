"""One HTML file that tells what a run did, or how several differ; it opens offline.

``record`` is what the report knows of a run, ``story`` says it in five sentences, ``tables`` and
``charts`` hold what the page shows, ``page`` writes it; ``runs`` and ``runs_page`` do so for
several runs. ``html`` makes pages of ``templates/`` and ``assets/``.
"""

from dids.report.page import write_report
from dids.report.record import RunRecord, read_run_record
from dids.report.runs_page import write_comparison

__all__ = ["RunRecord", "read_run_record", "write_comparison", "write_report"]
