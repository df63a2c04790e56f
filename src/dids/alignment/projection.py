"""Projection: a sample is what source prototypes make of it; the rest is like nothing there is.

After Yang, Gu, Sun: *Generalized Semantic Segmentation by Self-Supervised Source Domain Projection
and Multi-Level Contrastive Learning*, AAAI 2023 (arXiv:2303.01906), where a network learns to
bring augmented images back to the source domain, test data are projected by it before they are
segmented, and features are contrasted at the levels of pixels, instances and classes. Carried over:
target data are projected onto the sources, and compared at three levels, which
here are single samples, prototypes of each source, and the corpus. Not carried over: the trained
projector with its self-supervision, the contrastive losses and the updates at test time; the
projection is linear algebra.

Axes: n samples of sources, t samples of tasks, m rows, k prototypes, p samples kept, s sources, d
feature dimensions, r dimensions of the prototypes' span.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float, Integer

from dids.alignment.centres import kmeans_centres
from dids.alignment.transform import canonical_order

MAX_PROTOTYPES = 128
"""Of all sources together; non-negative least squares of a row then takes a millisecond."""
MAX_SAMPLES = 128
_PROTOTYPES_A_SOURCE = 8
_SAMPLES_A_PROTOTYPE = 4
_FLOOR = 1e-5
"""Smallest singular value of the prototypes that counts, as a fraction of the largest."""


@dataclass(frozen=True, eq=False)
class Projection:
    """Prototypes at three levels, and the span of those of sources and corpus."""

    sample_pd: Float[np.ndarray, "p d"]
    sample_source_p: Integer[np.ndarray, " p"]
    prototype_kd: Float[np.ndarray, "k d"]
    prototype_source_k: Integer[np.ndarray, " k"]
    source_mean_sd: Float[np.ndarray, "s d"]
    basis_dr: Float[np.ndarray, "d r"]
    held_out_hd: Float[np.ndarray, "h d"]
    """Source samples that no prototype has seen, to know what is left over of one's own."""

    @classmethod
    def fit(
        cls,
        feature_nd: Float[np.ndarray, "n d"],
        source_n: Integer[np.ndarray, " n"],
        task_feature_td: Float[np.ndarray, "t d"] | None = None,
        *,
        seed: int = 0,
    ) -> "Projection":
        """Prototypes from every second sample of each source; the others are held out.

        Args:
            feature_nd: As of `Alignment.fit`.
            source_n: As there.
            task_feature_td: Not looked at.
            seed: Of k-means and of the draw of samples.
        """
        order_n = canonical_order(feature_nd, source_n)
        row_nd, source_n = feature_nd[order_n].astype(np.float32), source_n[order_n]
        generator = np.random.default_rng(seed)
        is_held_n = np.zeros(len(row_nd), dtype=bool)
        is_held_n[generator.permutation(len(row_nd))[: len(row_nd) // 2]] = True
        sources_s, first_s = np.unique(source_n, return_index=True)
        is_held_n[first_s] = False  # each source has a prototype
        seen_md, source_m = row_nd[~is_held_n], source_n[~is_held_n]
        most = max(1, min(_PROTOTYPES_A_SOURCE, MAX_PROTOTYPES // len(sources_s)))
        prototypes = [_prototypes(seen_md[source_m == source], most, seed) for source in sources_s]
        prototype_kd = np.concatenate(prototypes)
        source_mean_sd = np.stack([seen_md[source_m == source].mean(0) for source in sources_s])
        sample_p = _draw(len(seen_md), generator)
        held_h = np.flatnonzero(is_held_n)
        held_h = held_h[_draw(len(held_h), generator)]
        return cls(
            seen_md[sample_p],
            source_m[sample_p].astype(np.int64),
            prototype_kd,
            np.repeat(sources_s, [len(some) for some in prototypes]).astype(np.int64),
            source_mean_sd,
            _span(np.concatenate([prototype_kd, source_mean_sd])),
            row_nd[held_h],
        )

    def aligned(
        self, feature_md: Float[np.ndarray, "m d"], source_m: Integer[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m d"]:
        """Rows replaced by their nearest point in the span of the prototypes."""
        inside_mr = feature_md.astype(np.float32) @ self.basis_dr
        return np.asarray(inside_mr @ self.basis_dr.T)


def _prototypes(
    feature_md: Float[np.ndarray, "m d"], most: int, seed: int
) -> Float[np.ndarray, "k d"]:
    count = max(1, min(most, len(feature_md) // _SAMPLES_A_PROTOTYPE))
    return feature_md.mean(0)[None] if count == 1 else kmeans_centres(feature_md, count, seed)


def _draw(count: int, generator: np.random.Generator) -> Integer[np.ndarray, " p"]:
    return np.sort(generator.permutation(count)[:MAX_SAMPLES])


def _span(vector_kd: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "d r"]:
    """An orthonormal basis."""
    _, value_r, basis_rd = scipy.linalg.svd(vector_kd.astype(np.float64), full_matrices=False)
    is_some_r = value_r > _FLOOR * max(float(value_r.max()), np.finfo(np.float64).tiny)
    return np.asarray(basis_rd[is_some_r].T, dtype=np.float32)
