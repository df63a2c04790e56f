"""Domains: groups of samples that are drawn as a whole, with what shows what they are.

Axes: n samples, k domains, s sources, d feature dimensions.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from dids.atomic import read_json, whole_folder, write_json
from dids.checksum import file_checksum, is_damaged, seal
from dids.domains.agreement import Agreement
from dids.errors import InputError

_FORMAT = 2
_ARRAYS = ("domain_of_sample", "centroids", "source_counts")


@dataclass(frozen=True, eq=False)
class Domains:
    """The result of clustering."""

    names: list[str]
    domain_of_sample: Integer[np.ndarray, " n"]
    centroid_kd: Float[np.ndarray, "k d"]
    """Mean direction, of unit length; no columns when sources were kept without features."""
    source_counts_ks: Integer[np.ndarray, "k s"]
    central_samples: list[list[int]]
    """The samples nearest to each centre, nearest first."""
    cosines: list[float]
    """Mean cosine of each domain's samples to its centre; 0 when there are no features."""
    stability: Agreement | None = None
    """Agreement with the domains that another seed gives; None where nothing was divided."""
    grouping: int = 0
    """How often they were regrouped since the run began."""
    added_sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Sources that joined the run after its beginning: ``path``, ``folder`` and ``key`` of the
    token store, ``content`` hash. Their columns and samples come behind the others'."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def size_k(self) -> Integer[np.ndarray, " k"]:
        """Samples of each domain."""
        return np.bincount(self.domain_of_sample, minlength=len(self.names)).astype(np.int64)

    def samples(self) -> list[Integer[np.ndarray, " _"]]:
        """Sample numbers of each domain, ascending."""
        order = np.argsort(self.domain_of_sample, kind="stable")
        return np.split(order, np.cumsum(self.size_k)[:-1])

    def save(self, folder: Path) -> None:
        """Write JSON and npy files, all or nothing.

        Args:
            folder: A folder of its own; what was there is replaced.
        """
        with whole_folder(folder) as unfinished:
            arrays = (self.domain_of_sample, self.centroid_kd, self.source_counts_ks)
            for name, array in zip(_ARRAYS, arrays, strict=True):
                np.save(_array(unfinished, name), array, allow_pickle=False)
            saved = {
                "format": _FORMAT,
                "names": self.names,
                "central_samples": self.central_samples,
                "cosines": self.cosines,
                "stability": None if self.stability is None else asdict(self.stability),
                "grouping": self.grouping,
                "added_sources": dict(self.added_sources),
                "checksums": {name: file_checksum(_array(unfinished, name)) for name in _ARRAYS},
            }
            write_json(unfinished / "domains.json", {**saved, "seal": seal(saved)})

    @classmethod
    def load(cls, folder: Path) -> "Domains":
        """Read what :meth:`save` wrote.

        Args:
            folder: Where it is.

        Returns:
            The domains.

        Raises:
            InputError: If something is missing or damaged.
        """
        try:
            saved = read_json(folder / "domains.json")
            _check(folder, saved)
            domain_of_sample, centroid_kd, source_counts_ks = (
                np.load(_array(folder, name), allow_pickle=False) for name in _ARRAYS
            )
            domains = cls(
                saved["names"],
                domain_of_sample,
                centroid_kd,
                source_counts_ks,
                saved["central_samples"],
                saved["cosines"],
                Agreement(**saved["stability"]) if saved.get("stability") else None,
                saved["grouping"],
                saved["added_sources"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"the domains in {folder} cannot be read ({error}).") from error
        return domains


def _array(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _check(folder: Path, saved: dict[str, Any]) -> None:
    """Refuse what is not as :meth:`Domains.save` has written it."""
    if saved["format"] != _FORMAT:
        raise ValueError("another format")
    if saved.pop("seal") != seal(saved):
        raise ValueError("domains.json differs from its checksum")
    for name, checksum in saved["checksums"].items():
        if is_damaged(_array(folder, name), checksum):
            raise ValueError(f"{name}.npy is missing or differs from its checksum")
