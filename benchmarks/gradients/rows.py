"""The table: every row that is measured. One more is one more entry."""

from benchmarks.gradients.own_rows import OWN_ROWS
from benchmarks.gradients.rivals import RIVAL_ROWS
from benchmarks.gradients.row import Row

ROWS: tuple[Row, ...] = (*OWN_ROWS, *RIVAL_ROWS)
