"""Per-sample gradients of a causal language model: features, means, Fisher information."""

from dids.gradients.compute_features import compute_features
from dids.gradients.coordinates import Coordinates
from dids.gradients.feature_moments import FeatureMoments
from dids.gradients.feature_store import FeatureStore
from dids.gradients.fit_projection import fit_projection
from dids.gradients.gradient_pass import FeatureReceiver, Receiver, gradient_pass
from dids.gradients.grouped_gradients import GroupedGradients
from dids.gradients.layers import covered_parameters, layer_gradients
from dids.gradients.live_features import LiveFeatures
from dids.gradients.losses import sample_losses
from dids.gradients.projection import Projection
from dids.gradients.sample_features import sample_features
from dids.gradients.statistics import GradientStatistics, fisher_diagonal, gradient_statistics
from dids.gradients.token_spans import TokenSpans

__all__ = [
    "Coordinates",
    "FeatureMoments",
    "FeatureReceiver",
    "FeatureStore",
    "GradientStatistics",
    "GroupedGradients",
    "LiveFeatures",
    "Projection",
    "Receiver",
    "TokenSpans",
    "compute_features",
    "covered_parameters",
    "fisher_diagonal",
    "fit_projection",
    "gradient_pass",
    "gradient_statistics",
    "layer_gradients",
    "sample_features",
    "sample_losses",
]
