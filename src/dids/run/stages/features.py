"""Stage four: gradient features of every training sample on the proxy."""

from typing import Any

import hashlib

from transformers import AutoModelForCausalLM

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
    model = AutoModelForCausalLM.from_pretrained(
        work.path("proxy") / "model",
        use_safetensors=True,
        trust_remote_code=config.trust_remote_code,
    ).to(work.device)
    projection = Projection(
        config.features.dim, kind=config.features.projection, seed=config.seed
    )
    num_done = len(work.dataset) - sum(len(store.shard_range(i)) for i in store.missing_shards())

    def count(num_new: int) -> None:
        nonlocal num_done
        num_done += num_new
        advance(num_done)

    with work.progress.bar("gradient features", len(work.dataset)) as advance:
        compute_features(
            model,
            work.dataset,
            work.collate,
            projection,
            store,
            batch_tokens=config.features.batch_tokens,
            device=work.device,
            progress=count,
        )
    return {"computed": True}


def feature_store(work: Workspace) -> FeatureStore:
    """The store of this run, opened or created."""
    config = work.config
    settings = config.features
    made_of = [
        *(store.meta["key"] for store in work.source_stores),
        hashlib.sha256((work.path("proxy") / "model" / "model.safetensors").read_bytes()).hexdigest(),
        settings.model_dump_json(),
        str(config.seed),
    ]
    return FeatureStore.open(
        work.path("features"),
        key=hashlib.sha256("\n".join(made_of).encode()).hexdigest(),
        num_samples=len(work.dataset),
        dim=settings.dim,
        dtype=settings.dtype,
    )
