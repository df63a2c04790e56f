"""Gradient features of a run, on its proxy: of every training sample or of a share of them."""

import hashlib

import numpy as np
from jaxtyping import Integer

from dids.atomic import read_json, whole_file, write_json
from dids.domains.feature_source import FeatureSource, SparseFeatures
from dids.domains.needed_features import needed_features
from dids.domains.ngram_vectors import NgramVectors
from dids.gradients.compute_features import compute_features
from dids.gradients.feature_store import FeatureStore
from dids.gradients.projection import Projection
from dids.run.workspace import Workspace


def computed_features(work: Workspace) -> FeatureSource:
    """Features by sample, those computed that are missing or damaged; zero where none is needed."""
    key = feature_key(work)
    sample_of_row = _needed_samples(work, key)
    store = _store(work, key, sample_of_row)
    missing = [len(store.shard_range(shard)) for shard in store.missing_shards()]
    if missing:
        with work.progress.bar("gradient features", sum(missing)) as advance:
            compute_features(
                work.saved_model("proxy"),
                work.dataset,
                work.collate,
                projection_of(work),
                store,
                batch_tokens=work.config.features.batch_tokens,
                device=work.device,
                progress=advance,
                sample_of_row=sample_of_row,
                layers=work.config.features.layers,
            )
    if sample_of_row is None:
        return store
    return SparseFeatures(store, sample_of_row, len(work.dataset))


def text_vectors(work: Workspace) -> NgramVectors | None:
    """What places the samples without a feature; None where all have one that need it."""
    return None if work.config.features.share == 1.0 else NgramVectors(work.dataset)


def _needed_samples(work: Workspace, key: str) -> Integer[np.ndarray, " r"] | None:
    """Which sample each row of the store belongs to; None: all have one.

    Drawn once and kept: cheap clusters may differ in a last bit with another number of threads,
    and a resumed run must not want other samples.
    """
    path, mark = (work.path("features") / f"samples.{ending}" for ending in ("npy", "json"))
    if path.is_file() and mark.is_file():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        if read_json(mark) == {"key": key, "sha256": content}:
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
    write_json(mark, {"key": key, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
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
    config = work.config
    made_of = [
        *(store.key for store in work.source_stores),
        hashlib.sha256(
            (work.path("proxy") / "model" / "model.safetensors").read_bytes()
        ).hexdigest(),
        projection_of(work).key,
        config.domains.model_dump_json(include={"number", "within"}),
        config.features.model_dump_json(include={"share", "layers"}),
    ]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()


def projection_of(work: Workspace) -> Projection:
    """The projection of this run."""
    settings = work.config.features
    return Projection(settings.dim, kind=settings.projection, seed=work.config.seed)
