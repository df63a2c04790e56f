"""Stage five: samples grouped into domains by their gradient features."""

from dataclasses import replace
from typing import Any

from dids.domains.clustering import cluster_features
from dids.domains.domains import Domains
from dids.domains.feature_map import feature_map
from dids.domains.feature_source import FeatureSource
from dids.domains.stability import MAX_COMPARED, seed_stability
from dids.run.alignment import aligned_features
from dids.run.alignment_account import write_account
from dids.run.features import text_vectors
from dids.run.steering import write_steering_file
from dids.run.workspace import Workspace

MAP_NAME = "feature_map.json"


def run(work: Workspace) -> dict[str, Any]:
    """Write ``domains/`` with its map of samples, and ``steering.yaml``, which speaks of it."""
    features = None
    if work.config.domains.number == "sources":
        domains = _domains(work, None)
    else:
        features = aligned_features(work)
        domains = _with_stability(work, features, _domains(work, features))
    domains.save(work.path("domains"))
    if features is not None:
        write_account(work, domains, work.path("domains"))
        found = feature_map(features, domains.domain_of_sample, work.config.seed)
        if found is not None:
            found.save(work.path("domains") / MAP_NAME)
    write_steering_file(work)
    work.progress.say(f"{len(domains.names)} domains")
    return {"num_domains": len(domains.names)}


def _domains(work: Workspace, features: FeatureSource | None) -> Domains:
    config = work.config.domains
    with work.progress.bar("clustering", len(work.dataset)) as advance:
        return cluster_features(
            features,
            work.dataset.source_of_sample,
            config.number,
            config.within,
            work.config.seed,
            source_names=list(work.sources),
            min_samples=config.min_samples,
            vectors=text_vectors(work),
            progress=advance,
        )


def _with_stability(work: Workspace, features: FeatureSource, domains: Domains) -> Domains:
    """The same domains, with how far another seed would give them too."""
    config = work.config.domains
    num_compared = min(len(work.dataset), MAX_COMPARED)
    with work.progress.bar("clustering with another seed", num_compared) as advance:
        stability = seed_stability(
            domains,
            features,
            work.dataset.source_of_sample,
            config.number,
            config.within,
            work.config.seed,
            num_sources=len(work.sources),
            min_samples=config.min_samples,
            vectors=text_vectors(work),
            progress=advance,
        )
    return replace(domains, stability=stability)
