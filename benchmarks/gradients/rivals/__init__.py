"""Other ways to do the same, one file each; what is not installed is a row that says so."""

from benchmarks.gradients.rivals import (
    bergson_features,
    dattri_logra,
    kronfluence_fisher,
    naive_loop,
    opacus_gradients,
    released_loop,
    torch_vmap,
    trak_projection,
)
from benchmarks.gradients.row import Row

RIVAL_ROWS: tuple[Row, ...] = (
    *bergson_features.ROWS,
    *dattri_logra.ROWS,
    *torch_vmap.ROWS,
    *opacus_gradients.ROWS,
    *kronfluence_fisher.ROWS,
    *naive_loop.ROWS,
    *released_loop.ROWS,
    *trak_projection.ROWS,
)
