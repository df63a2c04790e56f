"""Domains: samples grouped by what they teach, their gradients' direction."""

from dids.domains.clustering import cluster_features
from dids.domains.domains import Domains
from dids.domains.feature_source import FeatureSource

__all__ = ["Domains", "FeatureSource", "cluster_features"]
