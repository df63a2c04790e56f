"""How far domains are from tasks, by the features of some of their samples.

The measures are those that Guo, Pasunuru & Bansal 2020 (arXiv:2001.04362, "DistanceNet") compare
for text; each is taken from the work that it comes from. Samples are few (tens) and features long
(hundreds), so everything is computed from inner products of samples.

Axis letters: n and m samples, d feature dimensions, k domains, t tasks.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from dids.mixture.observation import FeatureSamples

Distance = Literal["cosine", "mmd", "coral", "fisher", "mix"]

_BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
_SHRINKAGE = 0.1


def cosine_distance(rows_nd: Float[np.ndarray, "n d"], rows_md: Float[np.ndarray, "m d"]) -> float:
    """One minus the cosine of the mean features."""
    one_d, other_d = rows_nd.mean(axis=0), rows_md.mean(axis=0)
    lengths = float(np.linalg.norm(one_d) * np.linalg.norm(other_d))
    return 1.0 - float(one_d @ other_d) / lengths if lengths > 0 else 1.0


def mmd(rows_nd: Float[np.ndarray, "n d"], rows_md: Float[np.ndarray, "m d"]) -> float:
    """Squared maximum mean discrepancy, the mean over five Gaussian kernels.

    ``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)``, bandwidths being 1/4 to 4 times the median
    squared distance. (Gretton et al. 2012, JMLR 13, the biased estimate.)
    """
    all_rows = np.concatenate([rows_nd, rows_md])
    square = np.einsum("nd,nd->n", all_rows, all_rows)
    distance = np.maximum(square[:, None] + square - 2.0 * all_rows @ all_rows.T, 0.0)
    typical = float(np.median(distance[np.triu_indices(len(distance), 1)]))
    if typical <= 0.0:
        typical = max(float(distance.max()), 1e-300)
    kernel = np.mean([np.exp(-distance / (width * typical)) for width in _BANDWIDTHS], axis=0)
    num = len(rows_nd)
    across = float(kernel[:num, num:].mean())
    return float(kernel[:num, :num].mean()) + float(kernel[num:, num:].mean()) - 2.0 * across


def coral(rows_nd: Float[np.ndarray, "n d"], rows_md: Float[np.ndarray, "m d"]) -> float:
    """Squared difference of the covariances, ``|C_x - C_y|_F^2 / (4 d^2)``.

    Sun & Saenko 2016, "Deep CORAL", arXiv:1607.01719.
    """
    one, other = _centred(rows_nd), _centred(rows_md)

    def product(a: np.ndarray, b: np.ndarray) -> float:
        """Of the two covariances, as matrices."""
        return float(((a @ b.T) ** 2).sum())

    apart = product(one, one) + product(other, other) - 2.0 * product(one, other)
    return apart / (4.0 * float(rows_nd.shape[1]) ** 2)


def fisher_distance(rows_nd: Float[np.ndarray, "n d"], rows_md: Float[np.ndarray, "m d"]) -> float:
    """How well one direction separates the two: Fisher's linear discriminant at its best.

    ``max_w (w · (m_x - m_y))^2 / w' (C_x + C_y) w = (m_x - m_y)' (C_x + C_y + r I)^-1 (m_x - m_y)``
    (Fisher 1936, Annals of Eugenics 7), where r is a tenth of the mean variance along the samples:
    without it fewer samples than dimensions are separated perfectly, whatever they are.
    """
    spread = np.concatenate([_centred(rows_nd), _centred(rows_md)])
    apart_d = rows_nd.mean(axis=0) - rows_md.mean(axis=0)
    gram = spread @ spread.T
    ridge = _SHRINKAGE * float(gram.trace()) / len(gram)
    square = float(apart_d @ apart_d)
    if ridge <= 0.0:
        return square / 1e-12 if square > 0 else 0.0
    # By Woodbury's identity, in the samples' own space.
    along = spread @ apart_d
    inside = np.linalg.solve(gram + ridge * np.eye(len(gram)), along)
    return (square - float(along @ inside)) / ridge


def _centred(rows_nd: np.ndarray) -> np.ndarray:
    """Rows C^(1/2): their inner products sum to the covariance."""
    return np.asarray((rows_nd - rows_nd.mean(axis=0)) / np.sqrt(max(len(rows_nd) - 1, 1)))


_MEASURES = {"cosine": cosine_distance, "mmd": mmd, "coral": coral, "fisher": fisher_distance}
MEASURES: tuple[Distance, ...] = ("cosine", "mmd", "coral", "fisher")
"""What ``mix`` is the mean of."""


def domain_task_distances(
    features: FeatureSamples, kind: Distance = "mix"
) -> Float64[np.ndarray, "k t"]:
    """Distance of every domain to every task.

    Args:
        features: Of samples.
        kind: One of the four measures, or ``mix``: their mean, each in its standard deviations over
            all pairs.

    Returns:
        NaN where a domain or a task has no feature.
    """
    if kind == "mix":
        every = [standardised(domain_task_distances(features, one)) for one in MEASURES]
        return np.asarray(np.mean(every, axis=0))
    measure = _MEASURES[kind]
    return np.array(
        [
            [
                measure(domain.astype(np.float64), task.astype(np.float64))
                if len(domain) and len(task)
                else np.nan
                for task in features.tasks
            ]
            for domain in features.domains
        ],
        dtype=np.float64,
    ).reshape(len(features.domains), len(features.tasks))


def mean_features(groups: tuple[Float[np.ndarray, "_ d"], ...]) -> Float64[np.ndarray, "k d"]:
    """Mean feature of every group of samples; NaN where there are none."""
    width = groups[0].shape[1] if groups else 0
    return np.array(
        [
            rows.mean(axis=0, dtype=np.float64) if len(rows) else np.full(width, np.nan)
            for rows in groups
        ]
    )


def cosine_distances(
    row_kd: Float64[np.ndarray, "k d"], other_d: Float64[np.ndarray, " d"]
) -> Float64[np.ndarray, " k"]:
    """One minus the cosine of each row to one vector; NaN where either is NaN or zero."""
    length_k = np.linalg.norm(row_kd, axis=1) * np.linalg.norm(other_d)
    return np.asarray(1.0 - (row_kd @ other_d) / np.where(length_k > 0, length_k, np.nan))


def distances_to_tasks(
    features: FeatureSamples, weight_t: Float[np.ndarray, " t"]
) -> Float64[np.ndarray, " k"]:
    """Cosine distance of every domain to the tasks, in the mean over the tasks by their weights."""
    domain_kd = mean_features(features.domains)
    columns = [cosine_distances(domain_kd, task_d) for task_d in mean_features(features.tasks)]
    return mean_over_tasks(np.stack(columns, axis=1), weight_t)


def distances_to_mixture(
    features: FeatureSamples, mixture_k: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """Cosine distance of every domain to the mean feature of a mixture of all."""
    domain_kd = mean_features(features.domains)
    is_known_k = ~np.isnan(domain_kd).any(axis=1)
    mean_d = mixture_k[is_known_k] @ domain_kd[is_known_k]
    return cosine_distances(domain_kd, mean_d)


def mean_over_tasks(
    value_kt: Float64[np.ndarray, "k t"], weight_t: Float[np.ndarray, " t"]
) -> Float64[np.ndarray, " k"]:
    """Mean over the tasks whose value is known, by their weights; NaN where none is."""
    is_known_kt = ~np.isnan(value_kt)
    weight_kt = np.where(is_known_kt, weight_t, 0.0)
    total_k = weight_kt.sum(axis=1)
    sum_k = (np.where(is_known_kt, value_kt, 0.0) * weight_kt).sum(axis=1)
    return np.asarray(sum_k / np.where(total_k > 0, total_k, np.nan))


def standardised(value: Float64[np.ndarray, "*any"]) -> Float64[np.ndarray, "*any"]:
    """Values in standard deviations from their mean; 0 where unknown, or where all are alike.

    Example:
        >>> standardised(np.array([1.0, 3.0, np.nan]))
        array([-1.,  1.,  0.])
    """
    known = value[~np.isnan(value)]
    if len(known) == 0:
        return np.zeros_like(value)
    # Below, differences are rounding.
    least = 1e-9 * float(np.abs(known).max())
    deviation = float(known.std())
    if deviation <= least:
        return np.zeros_like(value)
    return np.asarray(np.nan_to_num((value - known.mean()) / deviation, nan=0.0))
