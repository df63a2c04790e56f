"""Several alignments one after another, each fitted on what the one before it has made.

Axes: n samples of sources, t samples of tasks, m rows, d feature dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Integer

from dids.alignment.compact import Compact
from dids.alignment.projection import Projection
from dids.alignment.style import Style
from dids.alignment.transform import TASKS, Alignment
from dids.atomic import read_json, whole_folder, write_json
from dids.errors import InputError

ALIGNMENTS: dict[str, type[Style] | type[Compact] | type[Projection]] = {
    "style": Style,
    "compact": Compact,
    "projection": Projection,
}


@dataclass(frozen=True, eq=False)
class Composed:
    """Alignments in the order in which they are applied."""

    names: tuple[str, ...]
    parts: tuple[Alignment, ...]

    @classmethod
    def fit(
        cls,
        names: Sequence[str],
        feature_nd: Float[np.ndarray, "n d"],
        source_n: Integer[np.ndarray, " n"],
        task_feature_td: Float[np.ndarray, "t d"] | None = None,
        *,
        seed: int = 0,
    ) -> "Composed":
        """Fit one after another.

        Args:
            names: Keys of `ALIGNMENTS`.
            feature_nd: Features of the sources' samples, none of them zero.
            source_n: Source of each, from 0.
            task_feature_td: Features of the tasks' samples, where there are tasks.
            seed: Of everything random.
        """
        from_tasks = task_feature_td is not None and len(task_feature_td) > 0
        fitted = cls((), ())
        for name in names:
            part = ALIGNMENTS[name].fit(feature_nd, source_n, task_feature_td, seed=seed)
            fitted = cls((*fitted.names, name), (*fitted.parts, part))
            feature_nd = part.aligned(feature_nd, source_n)
            if from_tasks:
                assert task_feature_td is not None
                task_feature_td = part.aligned(task_feature_td, tasks_of(task_feature_td))
        return fitted

    def aligned(
        self, feature_md: Float[np.ndarray, "m d"], source_m: Integer[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m d"]:
        """Rows after every part; rows of zero, of which nothing is known, stay zero."""
        aligned_md = self.before(len(self.parts), feature_md, source_m)
        return aligned_md * feature_md.any(axis=1, keepdims=True)

    def before(
        self, place: int, feature_md: Float[np.ndarray, "m d"], source_m: Integer[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m d"]:
        """Rows as the part at a place is given them."""
        aligned_md = feature_md.astype(np.float32)
        for part in self.parts[:place]:
            aligned_md = part.aligned(aligned_md, source_m)
        return aligned_md

    def save(self, folder: Path, key: str) -> None:
        """Write ``alignment.json`` and an npz file a part, all or nothing.

        Args:
            folder: A folder of its own; what was there is replaced.
            key: What they were fitted on.
        """
        with whole_folder(folder) as unfinished:
            for place, part in enumerate(self.parts):
                arrays: dict[str, Any] = vars(part)
                np.savez(unfinished / f"{place}.npz", **arrays)
            write_json(unfinished / "alignment.json", {"key": key, "names": list(self.names)})

    @classmethod
    def load(cls, folder: Path, key: str) -> "Composed | None":
        """What :meth:`save` wrote; None where there is none, or one with another key.

        Raises:
            InputError: If something is missing or damaged.
        """
        if not (folder / "alignment.json").is_file():
            return None
        try:
            saved = read_json(folder / "alignment.json")
            if saved["key"] != key:
                return None
            parts = []
            for place, name in enumerate(saved["names"]):
                with (folder / f"{place}.npz").open("rb") as file:
                    arrays = np.load(file, allow_pickle=False)
                    parts.append(ALIGNMENTS[name](**dict(arrays)))
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise InputError(
                f"the alignment in {folder} cannot be read ({error}); delete it and run again."
            ) from error
        return cls(tuple(saved["names"]), tuple(parts))


def tasks_of(feature_md: Float[np.ndarray, "m d"]) -> Integer[np.ndarray, " m"]:
    """The number of the tasks for each of some rows.

    Example:
        >>> tasks_of(np.zeros((2, 3)))
        array([-1, -1])
    """
    return np.full(len(feature_md), TASKS, dtype=np.int64)
