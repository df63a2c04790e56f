"""Features on disk: append-only shards with checksums that can be read as memory-mapped arrays.

A folder holds ``part-00000.npy`` … and ``manifest.json``. A shard counts only once its checksum is
in the manifest, and both are put in place by renaming, so a run killed anywhere goes on where it
stopped. The manifest seals itself with a checksum of its own. Whatever is found damaged is named in
a warning and rebuilt: a shard alone, or all of them where no manifest speaks for them any more.

Axes: n samples, m samples of a shard, d feature dimensions.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Integer

from dids.atomic import read_json, whole_file, write_json
from dids.checksum import file_checksum, is_damaged, seal
from dids.errors import InputError, is_disk_full

logger = logging.getLogger(__name__)

Precision = Literal["float16", "float32"]
_MOST_MAPS = 8
"""Shards mapped at once. What was read of a map counts as memory of the process until it is let go:
with all of them kept clustering 512 MB of features took 555 MB, with eight 117."""
_MANIFEST = "manifest.json"
_FORMAT = 2

SHARD_SAMPLES = 4096
"""Rows of a shard."""


class FeatureStore:
    """Features of ``num_samples`` samples; made by :meth:`open_or_create`."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self._manifest = manifest
        self._checksums: dict[str, str] = manifest["checksums"]
        self._maps: dict[int, np.ndarray] = {}
        self.num_samples = int(manifest["num_samples"])
        self.dim = int(manifest["dim"])
        self.shard_size = int(manifest["shard_size"])
        self.dtype = np.dtype(manifest["dtype"])

    @classmethod
    def create(
        cls,
        folder: Path,
        key: str,
        num_samples: int,
        dim: int,
        *,
        shard_size: int = SHARD_SAMPLES,
        dtype: Precision = "float16",
    ) -> "FeatureStore":
        """An empty store; shards that were in the folder are removed.

        Args:
            folder: Where to keep it.
            key: What the features depend on (data, model, projection).
            num_samples: Rows in all.
            dim: Columns.
            shard_size: Rows of a shard, what a killed run loses at most.
            dtype: Precision on disk.

        Returns:
            The store.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for part in [*folder.glob("part-*.npy"), *folder.glob("*.tmp")]:
            part.unlink()
        settings = _settings(key, num_samples, dim, shard_size, dtype)
        store = cls(folder, {**settings, "checksums": {}})
        store._write_manifest()
        return store

    @classmethod
    def open(cls, folder: Path, key: str) -> "FeatureStore | None":
        """The store that is in a folder, every shard checked.

        Args:
            folder: Where it was kept.
            key: What its features must depend on.

        Returns:
            The store, or None when there is none with this key. Corrupt shards are logged and
            missing.
        """
        manifest = _read_manifest(folder)
        if manifest is None or manifest["key"] != key:
            return None
        store = cls(folder, manifest)
        store._drop_corrupt_shards()
        return store

    @classmethod
    def open_or_create(
        cls,
        folder: Path,
        key: str,
        num_samples: int,
        dim: int,
        *,
        shard_size: int = SHARD_SAMPLES,
        dtype: Precision = "float16",
    ) -> "FeatureStore":
        """The store in a folder if it is the one asked for, otherwise an empty one.

        Args:
            folder: Where to keep it.
            key: What the features depend on (data, model, projection).
            num_samples: Rows in all.
            dim: Columns.
            shard_size: Rows of a shard.
            dtype: Precision on disk.

        Returns:
            The store.
        """
        store = cls.open(folder, key)
        settings = _settings(key, num_samples, dim, shard_size, dtype)
        if store is not None and all(store._manifest[k] == v for k, v in settings.items()):
            return store
        if any(folder.glob("part-*.npy")):
            logger.info("The features in %s are of another model, data or form, and go.", folder)
        return cls.create(folder, key, num_samples, dim, shard_size=shard_size, dtype=dtype)

    @property
    def num_shards(self) -> int:
        """Shards in all."""
        return -(-self.num_samples // self.shard_size)

    @property
    def is_complete(self) -> bool:
        """Whether no shard is missing."""
        return not self.missing_shards()

    def __len__(self) -> int:
        return self.num_samples

    def missing_shards(self) -> list[int]:
        """Numbers of the shards that are still to be written, or to be rebuilt."""
        return [shard for shard in range(self.num_shards) if str(shard) not in self._checksums]

    def shard_range(self, shard: int) -> range:
        """Sample numbers of a shard."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.num_samples))

    def write_shard(
        self,
        shard: int,
        feature_md: Float[np.ndarray, "m d"],
        sample_m: Integer[np.ndarray, " m"] | None = None,
    ) -> None:
        """Put one shard in place.

        Args:
            shard: Its number.
            feature_md: Its features.
            sample_m: What to call its rows where one cannot be stored; None: their numbers.

        Raises:
            ValueError: If there is no such shard, or the shape is not its own.
            InputError: If a feature does not fit the precision, or the disk is full.
        """
        if not 0 <= shard < self.num_shards:
            raise ValueError(f"there are {self.num_shards} shards, so none has number {shard}.")
        expected = (len(self.shard_range(shard)), self.dim)
        if feature_md.shape != expected:
            raise ValueError(f"shard {shard} must be {expected}, but is {feature_md.shape}.")
        with np.errstate(over="ignore"):
            stored_md = np.ascontiguousarray(feature_md, dtype=self.dtype)
        is_lost_m = ~np.isfinite(stored_md).all(1)
        is_lost_m |= (feature_md != 0).any(1) & (stored_md == 0).all(1)
        if is_lost_m.any():
            row = int(np.flatnonzero(is_lost_m)[0])
            name = self.shard_range(shard)[row] if sample_m is None else int(sample_m[row])
            raise InputError(
                f"the gradient feature of sample {name} is not a finite "
                f"{self.dtype.name} number, or too small for one: the proxy has diverged, or its "
                "features need float32."
            )
        path = self._path(shard)
        try:
            with whole_file(path) as unfinished:
                with unfinished.open("wb") as file:
                    np.save(file, stored_md, allow_pickle=False)
                checksum = file_checksum(unfinished)
            self._checksums[str(shard)] = checksum
            self._write_manifest()
        except OSError as error:
            if is_disk_full(error):
                raise InputError(
                    f"the disk is full at {path}; features need "
                    f"{self.num_samples * self.dim * self.dtype.itemsize:,} bytes in all."
                ) from error
            raise
        self._maps.pop(shard, None)

    def rows(self, start: int, stop: int) -> Float[np.ndarray, "m d"]:
        """Features of consecutive samples, in float32.

        Args:
            start: First sample.
            stop: One after the last.

        Returns:
            A copy.
        """
        return self[np.arange(start, min(stop, self.num_samples))]

    def __getitem__(self, samples: Integer[np.ndarray, " m"]) -> Float[np.ndarray, "m d"]:
        """Features of any samples, in float32, in the order asked for.

        Raises:
            ValueError: If samples are not numbers of samples (a mask has none).
            KeyError: If the shard of one has not been computed.
        """
        samples = np.asarray(samples)
        if len(samples) > 0 and (samples.dtype.kind not in "iu" or samples.min() < 0):
            raise ValueError(
                "samples are asked for by their numbers, from 0 on; np.flatnonzero makes them of a "
                "mask."
            )
        feature_md = np.empty((len(samples), self.dim), dtype=np.float32)
        shard_m = samples // self.shard_size
        for shard in np.unique(shard_m):
            is_here_m = shard_m == shard
            feature_md[is_here_m] = self._map(int(shard))[samples[is_here_m] % self.shard_size]
        return feature_md

    def shards(self) -> Iterator[np.ndarray]:
        """The stored arrays one by one, memory-mapped, in their own precision."""
        for shard in range(self.num_shards):
            yield self._map(shard)

    def _map(self, shard: int) -> np.ndarray:
        if str(shard) not in self._checksums:
            raise KeyError(f"shard {shard} of {self.folder} has not been computed.")
        if shard not in self._maps:
            while len(self._maps) >= _MOST_MAPS:
                del self._maps[next(iter(self._maps))]  # the one that was opened first
            self._maps[shard] = np.load(self._path(shard), mmap_mode="r", allow_pickle=False)
        return self._maps[shard]

    def _path(self, shard: int) -> Path:
        return self.folder / f"part-{shard:05d}.npy"

    def _drop_corrupt_shards(self) -> None:
        for shard, checksum in list(self._checksums.items()):
            path = self._path(int(shard))
            if is_damaged(path, checksum):
                logger.warning("%s is missing or corrupt and will be computed again.", path)
                del self._checksums[shard]

    def _write_manifest(self) -> None:
        write_json(self.folder / _MANIFEST, {**self._manifest, "seal": seal(self._manifest)})


def _settings(key: str, num_samples: int, dim: int, shard_size: int, dtype: str) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "key": key,
        "num_samples": num_samples,
        "dim": dim,
        "shard_size": shard_size,
        "dtype": dtype,
    }


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest; None where there is none, or one that is damaged, which is said."""
    path = folder / _MANIFEST
    if not path.exists():
        return None
    try:
        manifest: dict[str, Any] = read_json(path)
        if manifest.pop("seal") != seal(manifest):
            raise ValueError("its checksum differs")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s is damaged (%r): all its features will be computed again.", path, error)
        return None
    return manifest if manifest["format"] == _FORMAT else None
