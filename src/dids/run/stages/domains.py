"""Stage five: samples grouped into domains by their gradient features."""

from typing import Any

from dids.domains.clustering import cluster_features
from dids.run.stages.features import feature_store
from dids.run.workspace import Workspace


def run(work: Workspace) -> dict[str, Any]:
    """Write ``domains/``."""
    config = work.config.domains
    features = None if config.number == "sources" else feature_store(work)
    domains = cluster_features(
        features,
        work.dataset.source_of_sample,
        config.number,
        config.within,
        work.config.seed,
        source_names=list(work.sources),
        min_samples=config.min_samples,
    )
    domains.save(work.path("domains"))
    work.progress.say(f"{len(domains.names)} domains")
    return {"num_domains": len(domains.names)}
