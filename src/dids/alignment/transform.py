"""What every alignment of features is: fitted once on a draw of samples, then applied row by row.

Rows do not depend on each other once it is fitted, so blocks of any size give the same values and
memory stays flat.

Axes: n samples of sources, t samples of tasks, m rows to align, d feature dimensions.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Integer

TASKS = -1
"""The number that samples of tasks have in place of their source's: all tasks are one group."""


@runtime_checkable
class Alignment(Protocol):
    """A transform of features: a dataclass whose fields are arrays, all that it has fitted."""

    @classmethod
    def fit(
        cls,
        feature_nd: Float[np.ndarray, "n d"],
        source_n: Integer[np.ndarray, " n"],
        task_feature_td: Float[np.ndarray, "t d"] | None = None,
        *,
        seed: int = 0,
    ) -> "Alignment":
        """The transform that some samples call for.

        Args:
            feature_nd: Features of the sources' samples, none of them zero.
            source_n: Source of each, from 0.
            task_feature_td: Features of the tasks' samples, where there are tasks.
            seed: Of everything random.
        """
        ...

    def aligned(
        self, feature_md: Float[np.ndarray, "m d"], source_m: Integer[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m d"]:
        """Rows transformed, in float32.

        Args:
            feature_md: Any rows.
            source_m: Source of each; `TASKS` for those of tasks.
        """
        ...


def canonical_order(
    feature_nd: Float[np.ndarray, "n d"], source_n: Integer[np.ndarray, " n"]
) -> Integer[np.ndarray, " n"]:
    """An order of samples that does not depend on the one they came in: by source, then by bytes.

    Sums and starts of k-means taken in it are the same to the last bit.

    Args:
        feature_nd: Their features.
        source_n: Their sources.

    Returns:
        Places, such that ``feature_nd[order]`` is in order.
    """
    row_nd = np.ascontiguousarray(feature_nd, dtype=np.float32) + np.float32(0.0)  # no minus zero
    as_bytes_n = row_nd.view(np.dtype((np.void, row_nd.itemsize * row_nd.shape[1]))).ravel()
    order_n = np.argsort(as_bytes_n, kind="stable")
    return order_n[np.argsort(source_n[order_n], kind="stable")]
