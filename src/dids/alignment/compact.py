"""Compact: confident samples are drawn towards their cluster, clusters away from each other.

After Rostami: *Unsupervised Domain Adaptation Using Compact Internal Representations*, 2024
(arXiv:2401.07207), where an encoder is trained so that target features match a mixture of
Gaussians over the source features, of which only confident parts are kept, with wider margins
between classes. Carried over: the mixture over source features, its confident parts, smaller
spread, wider margins, and target samples assigned with a confidence. Not carried over: classes
(components are found, not labelled), a trained encoder and the sliced Wasserstein distance;
features are moved by a formula, because gradients have no encoder to train.

Axes: n samples of sources, m rows, k components, d feature dimensions, r principal directions, q
quantiles.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Integer

from dids.alignment.gaussian_mixture import GaussianMixture
from dids.alignment.principal import principal_directions
from dids.alignment.transform import canonical_order

MAX_DIRECTIONS = 32
"""The mixture lives in so many principal directions: in a thousand dimensions every posterior is 0
or 1, whatever the sample."""
_MAX_COMPONENTS = 64
_SAMPLES_A_COMPONENT = 8
_RARE = 0.05
"""A sample less dense than this fraction of the fitted ones loses confidence in proportion."""


@dataclass(frozen=True, eq=False)
class Assigned:
    """The component of each row, and how sure that is."""

    component_m: Integer[np.ndarray, " m"]
    confidence_m: Float[np.ndarray, " m"]
    """From 0 to 1: the posterior, less where a sample lies farther out than sources do."""


@dataclass(frozen=True, eq=False)
class Compact:
    """A mixture of Gaussians, and how it draws samples together."""

    mean_d: Float[np.ndarray, " d"]
    direction_dr: Float[np.ndarray, "d r"]
    weight_k: Float64[np.ndarray, " k"]
    mean_kr: Float64[np.ndarray, "k r"]
    variance_kr: Float64[np.ndarray, "k r"]
    rare_q: Float64[np.ndarray, " q"]
    """Log densities of the rarest of the fitted samples, at equal steps up to their 5 %."""
    strength_3: Float64[np.ndarray, " 3"]
    """Spread kept, margin, least confidence."""

    @classmethod
    def fit(
        cls,
        feature_nd: Float[np.ndarray, "n d"],
        source_n: Integer[np.ndarray, " n"],
        task_feature_td: Float[np.ndarray, "t d"] | None = None,
        *,
        seed: int = 0,
        num_components: int | None = None,
        spread: float = 0.5,
        margin: float = 1.25,
        least_confidence: float = 0.9,
    ) -> "Compact":
        """The mixture of the sources' samples.

        Args:
            feature_nd: As of `Alignment.fit`.
            source_n: As there.
            task_feature_td: Not looked at: tasks are assigned, they do not shape the mixture.
            seed: Of the start.
            num_components: None: doubled from 1 while Bayes's information criterion falls.
            spread: What is left of a confident sample's distance to its component; 1: all.
            margin: Factor on the components' distances from the mean of all; 1: none.
            least_confidence: Samples below it stay as they are.
        """
        row_nd = feature_nd[canonical_order(feature_nd, source_n)].astype(np.float64)
        mean_d = row_nd.mean(0)
        direction_dr = principal_directions(row_nd - mean_d, MAX_DIRECTIONS)
        place_nr = (row_nd - mean_d) @ direction_dr
        mixture = _mixture(place_nr, num_components, seed)
        rare_q = np.quantile(mixture.log_density(place_nr), np.linspace(0, _RARE, 51))
        return cls(
            mean_d.astype(np.float32),
            direction_dr.astype(np.float32),
            mixture.weight_k,
            mixture.mean_kr,
            mixture.variance_kr,
            rare_q,
            np.array([spread, margin, least_confidence]),
        )

    @property
    def mixture(self) -> GaussianMixture:
        """In the principal directions."""
        return GaussianMixture(self.weight_k, self.mean_kr, self.variance_kr)

    def assigned(self, feature_md: Float[np.ndarray, "m d"]) -> Assigned:
        """The likeliest component of each row.

        Args:
            feature_md: Rows as they were before `aligned`.
        """
        place_mr = (feature_md - self.mean_d) @ self.direction_dr
        posterior_mk = self.mixture.posterior(place_mr)
        share_q = np.linspace(0.0, 1.0, len(self.rare_q))
        density_m = self.mixture.log_density(place_mr)
        typical_m = np.interp(density_m, self.rare_q, share_q, left=0.0, right=1.0)
        confidence_m = (posterior_mk.max(1) * typical_m).astype(np.float32)
        return Assigned(posterior_mk.argmax(1), confidence_m)

    def aligned(
        self, feature_md: Float[np.ndarray, "m d"], source_m: Integer[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m d"]:
        """Confident rows drawn towards their component, which is moved outwards."""
        spread, margin, least_confidence = self.strength_3
        found = self.assigned(feature_md)
        own_mr = self.mean_kr[found.component_m].astype(np.float32)
        centre_md = self.mean_d + own_mr @ self.direction_dr.T
        farther_md = self.mean_d + (np.float32(margin) * own_mr) @ self.direction_dr.T
        moved_md = farther_md + np.float32(spread) * (feature_md - centre_md)
        is_sure_m1 = found.confidence_m[:, None] >= least_confidence
        return np.where(is_sure_m1, moved_md, feature_md).astype(np.float32)


def _mixture(
    place_nr: Float64[np.ndarray, "n r"], num_components: int | None, seed: int
) -> GaussianMixture:
    if num_components is not None:
        return GaussianMixture.fit(place_nr, num_components, seed)
    best = GaussianMixture.fit(place_nr, 1, seed)
    count = 2
    while count <= min(_MAX_COMPONENTS, len(place_nr) // _SAMPLES_A_COMPONENT):
        larger = GaussianMixture.fit(place_nr, count, seed)
        if larger.information_criterion(place_nr) >= best.information_criterion(place_nr):
            break
        best, count = larger, 2 * count
    return best
