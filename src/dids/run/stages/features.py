"""Stage four: gradient features of every training sample on the proxy."""

import hashlib
from typing import Any

import numpy as np

from dids.domains.needed_features import needed_features
from dids.gradients.compute_features import compute_features
from dids.gradients.feature_store import FeatureStore
from dids.gradients.projection import Projection
from dids.run.workspace import Workspace


def run(work: Workspace) -> dict[str, Any]:
    """Write ``features/``; nothing where the sources are kept as domains."""
    config = work.config
    if config.domains.number == "sources":
        return {"computed": False}
    store = feature_store(work)
    model = work.saved_model("proxy")
    is_needed_n = needed_features(
        work.dataset.source_of_sample,
        len(work.sources),
        config.domains.number,
        config.domains.within,
        config.seed,
    )
    ranges = [np.array(store.shard_range(shard)) for shard in store.missing_shards()]
    num_missing = sum(len(n) if is_needed_n is None else int(is_needed_n[n].sum()) for n in ranges)
    with work.progress.bar("gradient features", num_missing) as advance:
        compute_features(
            model,
            work.dataset,
            work.collate,
            projection(work),
            store,
            batch_tokens=config.features.batch_tokens,
            device=work.device,
            progress=advance,
            is_needed_n=is_needed_n,
            layers=config.features.layers,
        )
    return {"computed": True}


def feature_store(work: Workspace) -> FeatureStore:
    """The store of this run, opened or created."""
    config = work.config
    settings = config.features
    made_of = [
        *(store.key for store in work.source_stores),
        hashlib.sha256(
            (work.path("proxy") / "model" / "model.safetensors").read_bytes()
        ).hexdigest(),
        projection(work).key,
        settings.model_dump_json(include={"layers"}),
        config.domains.model_dump_json(include={"number", "within"}),
    ]
    return FeatureStore.open_or_create(
        work.path("features"),
        hashlib.sha256("\n".join(made_of).encode()).hexdigest(),
        len(work.dataset),
        settings.dim,
        dtype=settings.dtype,
    )


def projection(work: Workspace) -> Projection:
    """The projection of this run."""
    settings = work.config.features
    return Projection(settings.dim, kind=settings.projection, seed=work.config.seed)
