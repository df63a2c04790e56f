"""Gradient features of a run, on its proxy: of every training sample or of a share of them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from dids.atomic import whole_file
from dids.checksum import file_checksum
from dids.data.dataset import PaddingCollator, TokenDataset
from dids.domains.feature_source import FeatureSource, SparseFeatures
from dids.domains.needed_features import needed_features
from dids.domains.ngram_vectors import NgramVectors
from dids.gradients.compute_features import features_of
from dids.gradients.feature_store import FeatureStore
from dids.gradients.projection import Projection
from dids.run.kept_file import is_kept, mark_kept
from dids.run.projection import projection_of
from dids.run.workspace import Workspace
from dids.training.models import model_device, saved_model


@dataclass(frozen=True)
class FeatureShards:
    """What a worker needs to compute any shard of a run's features.

    Attributes:
        model_folder: Where the proxy is.
        trust_remote_code: Whether code that comes with it may run.
        dataset: The corpus; what is sent are the folders of its stores.
        collate: Makes a batch of samples.
        projection: Π.
        batch_tokens: Tokens of a batch at most.
        layers: Patterns of the names of parameters or modules; None for every layer.
        samples_file: Which sample each row belongs to; None: sample i to row i.
    """

    model_folder: Path
    trust_remote_code: bool
    dataset: TokenDataset
    collate: PaddingCollator
    projection: Projection
    batch_tokens: int
    layers: Sequence[str] | None
    samples_file: Path | None

    needs_model = True

    def opened(self) -> Callable[[range, Callable[[int], None]], Float[np.ndarray, "n d"]]:
        """Load the proxy; what is returned computes one shard."""
        device = model_device()
        model = saved_model(self.model_folder, device, trust_remote_code=self.trust_remote_code)
        sample_r = None
        if self.samples_file is not None:
            sample_r = np.load(self.samples_file, mmap_mode="r", allow_pickle=False)

        def computed(rows: range, progress: Callable[[int], None]) -> Float[np.ndarray, "n d"]:
            return features_of(
                model,
                self.dataset,
                self.collate,
                self.projection,
                _samples(rows, sample_r),
                batch_tokens=self.batch_tokens,
                device=device,
                progress=progress,
                layers=self.layers,
            )

        return computed


def computed_features(work: Workspace) -> FeatureSource:
    """Features by sample, those computed that are missing or damaged; zero where none is needed."""
    projection = projection_of(work)
    key = _key(work, projection)
    sample_of_row = _needed_samples(work, key)
    store = _store(work, key, sample_of_row)
    shard_of_rows = {store.shard_range(shard): shard for shard in store.missing_shards()}
    if shard_of_rows:
        num_missing = sum(map(len, shard_of_rows))
        with work.progress.bar("gradient features", num_missing) as advance:
            shards = _shards(work, projection, has_all=sample_of_row is None)
            for rows, feature_nd in work.engine(shards, [*shard_of_rows], advance):
                store.write_shard(shard_of_rows[rows], feature_nd, _samples(rows, sample_of_row))
    if sample_of_row is None:
        return store
    return SparseFeatures(store, sample_of_row, len(work.dataset))


def _shards(work: Workspace, projection: Projection, *, has_all: bool) -> FeatureShards:
    return FeatureShards(
        model_folder=work.path("proxy") / "model",
        trust_remote_code=work.config.trust_remote_code,
        dataset=work.dataset,
        collate=work.collate,
        projection=projection,
        batch_tokens=work.config.features.batch_tokens,
        layers=work.config.features.layers,
        samples_file=None if has_all else _samples_file(work),
    )


def _samples(
    rows: range, sample_of_row: Integer[np.ndarray, " r"] | None
) -> Integer[np.ndarray, " n"]:
    """The samples of some rows of the store."""
    if sample_of_row is None:
        return np.arange(rows.start, rows.stop)
    return np.asarray(sample_of_row[rows.start : rows.stop])


def _samples_file(work: Workspace) -> Path:
    return work.path("features") / "samples.npy"


def text_vectors(work: Workspace) -> NgramVectors | None:
    """What places the samples without a feature; None where all have one that need it."""
    return None if work.config.features.share == 1.0 else NgramVectors(work.dataset)


def _needed_samples(work: Workspace, key: str) -> Integer[np.ndarray, " r"] | None:
    """Which sample each row of the store belongs to; None: all have one.

    Drawn once and kept: cheap clusters may differ in a last bit with another number of threads,
    and a resumed run must not want other samples.
    """
    path = _samples_file(work)
    if is_kept(path, key):
        return np.asarray(np.load(path, allow_pickle=False))
    config = work.config
    needed = needed_features(
        work.dataset.source_of_sample,
        len(work.sources),
        config.domains.number,
        config.domains.within,
        config.seed,
        share=config.features.share,
        vectors=text_vectors(work),
    )
    if needed is None:
        return None
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, needed, allow_pickle=False)
    mark_kept(path, key)
    return needed


def _store(
    work: Workspace, key: str, sample_of_row: Integer[np.ndarray, " r"] | None
) -> FeatureStore:
    """The store of this run, opened or created."""
    samples = b"all" if sample_of_row is None else sample_of_row.tobytes()
    return FeatureStore.open_or_create(
        work.path("features"),
        hashlib.sha256(key.encode() + samples).hexdigest(),
        len(work.dataset) if sample_of_row is None else len(sample_of_row),
        work.config.features.dim,
        dtype=work.config.features.dtype,
    )


def feature_key(work: Workspace) -> str:
    """A hash of what features depend on: data, model, projection, and which are wanted."""
    return _key(work, projection_of(work))


def _key(work: Workspace, projection: Projection) -> str:
    config = work.config
    made_of = [
        *(store.key for store in work.source_stores),
        file_checksum(work.path("proxy") / "model" / "model.safetensors"),
        projection.key,
        config.domains.model_dump_json(include={"number", "within"}),
        config.features.model_dump_json(include={"share", "layers"}),
    ]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()
