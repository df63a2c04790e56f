"""Impact from per-sample gradients or features, with its error: every estimator, one signature.

Rows are samples' gradients, kept coordinates of them, or projected features, whose inner products
are those of the gradients up to the projection's error. Every metric compares a domain's step
with the task's own:

- ``dot``, ``cosine``: of the gradients as they are;
- ``step``, ``step-cosine``: in the optimizer's metric, ``g' P h``: how far one step on the domain
  lowers the task's loss, to first order;
- ``fisher-kernel``, ``fisher-cosine``, ``kl-distance``: of the two steps ``P g`` and ``P h`` in the
  task's Fisher metric (Shi et al. 2025, arXiv:2504.13227), its diagonal or the whole of it.

Axis letters: k domains, t tasks, n samples of a domain, m samples of a task, d dimensions, r
bootstrap replicates (the first is the data itself).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from dids.impact.bootstrap import resampled_weights
from dids.impact.sample_products import (
    DomainRows,
    Products,
    diagonal_fisher_products,
    plain_products,
    whole_fisher_products,
)


@dataclass(frozen=True)
class Metric:
    """One way to compare two steps.

    Attributes:
        within: The metric that inner products are taken in: ``plain``, the optimizer's
            preconditioner (``step``), or the task's Fisher information (``fisher``).
        form: The inner product itself (``kernel``), its cosine, or the distance of the two.
    """

    within: Literal["plain", "step", "fisher"]
    form: Literal["kernel", "cosine", "distance"]


METRICS: Mapping[str, Metric] = {
    "dot": Metric("plain", "kernel"),
    "cosine": Metric("plain", "cosine"),
    "step": Metric("step", "kernel"),
    "step-cosine": Metric("step", "cosine"),
    "fisher-kernel": Metric("fisher", "kernel"),
    "fisher-cosine": Metric("fisher", "cosine"),
    "kl-distance": Metric("fisher", "distance"),
}
"""What ``impact(metric=...)`` takes."""


@dataclass(frozen=True, eq=False)
class Impact:
    """Impact of every domain on every task, and how sure it is.

    Attributes:
        value_kt: The estimate. Distances are low where a domain is good, all else is high there.
            ``step`` is in nats a unit of learning rate.
        standard_error_kt: Of the estimate, by bootstrap over the samples; infinite where there is
            one sample alone, or no replicate.
        low_kt: Lower end of the confidence interval.
        high_kt: Its upper end.
        domain_samples_k: Samples behind each row.
        task_samples_t: Samples behind each column.
        metric: A key of ``METRICS``.
    """

    value_kt: Float64[np.ndarray, "k t"]
    standard_error_kt: Float64[np.ndarray, "k t"]
    low_kt: Float64[np.ndarray, "k t"]
    high_kt: Float64[np.ndarray, "k t"]
    domain_samples_k: Int64[np.ndarray, " k"]
    task_samples_t: Int64[np.ndarray, " t"]
    metric: str

    @property
    def helps_kt(self) -> Bool[np.ndarray, "k t"]:
        """Where the whole interval is above zero; nowhere for distances, which have no sign."""
        return self._signed_kt & (self.low_kt > 0.0)

    @property
    def harms_kt(self) -> Bool[np.ndarray, "k t"]:
        """Where the whole interval is below zero; nowhere for distances."""
        return self._signed_kt & (self.high_kt < 0.0)

    @property
    def _signed_kt(self) -> np.ndarray:
        is_signed = METRICS[self.metric].form != "distance"
        return np.asarray(np.isfinite(self.standard_error_kt) & is_signed)


def impact(
    domains: Sequence[Float[Tensor, "_ d"]],
    tasks: Sequence[Float[Tensor, "_ d"]],
    *,
    metric: str = "step",
    fisher: Literal["whole", "diagonal"] = "whole",
    precondition_d: Float[Tensor, " d"] | None = None,
    domain_weights: Sequence[Float64[np.ndarray, " _"]] | None = None,
    num_replicates: int = 200,
    level: float = 0.9,
    seed: int = 0,
) -> Impact:
    """Impact of every domain on every task, with a confidence interval for every pair.

    Args:
        domains: For each domain the gradients or features of some of its samples, [n, d].
        tasks: For each task those of some of its validation samples, [m, d].
        metric: A key of ``METRICS``.
        fisher: ``whole`` needs inner products alone and holds for features too; ``diagonal``
            squares entries and means something for gradients alone.
        precondition_d: The optimizer's preconditioner at these entries. None: 1 everywhere, as
            under SGD, or for features that were scaled by its root before their projection.
        domain_weights: What each sample weighs in its domain's mean, for instance its scored
            tokens. None: all the same.
        num_replicates: Bootstrap replicates; 0 for none, and infinite errors.
        level: Of the confidence intervals, between 0 and 1.
        seed: Of the bootstrap.

    Returns:
        Values, errors and intervals.

    Raises:
        ValueError: If there is no such metric or Fisher information, a domain or task has no sample
            that weighs anything or rows that are no numbers, weights are not one for each sample,
            or ``level`` is not between 0 and 1.

    Example:
        >>> import torch
        >>> along, against = torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[-1.0, 0.0]] * 2)
        >>> found = impact([along, against], [along], metric="cosine")
        >>> found.value_kt.tolist(), found.harms_kt.tolist()
        ([[1.0], [-1.0]], [[False], [True]])
    """
    if metric not in METRICS:
        raise ValueError(f"there is no metric '{metric}'; there are: {', '.join(METRICS)}.")
    if fisher not in ("whole", "diagonal"):
        raise ValueError(f"fisher must be whole or diagonal, but it is {fisher!r}.")
    domains, tasks = _checked_rows(domains, "domain"), _checked_rows(tasks, "task")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, but it is {level}.")
    if domain_weights is not None:
        if [len(each) for each in domain_weights] != [len(rows) for rows in domains]:
            raise ValueError("domain_weights must have a weight for each sample of each domain.")
        # A replicate of samples that weigh nothing would be a mean of nothing.
        kept = [np.flatnonzero(weight_n) for weight_n in domain_weights]
        domains = [rows[n] for rows, n in zip(domains, kept, strict=True)]
        domain_weights = [weight_n[n] for weight_n, n in zip(domain_weights, kept, strict=True)]
    counts_k, counts_t = _counts(domains, "domain"), _counts(tasks, "task")
    chosen = METRICS[metric]
    scale_d = None if precondition_d is None or chosen.within == "plain" else precondition_d.sqrt()
    random = np.random.Generator(np.random.Philox(seed))
    weights = domain_weights or [np.ones(count) for count in counts_k]
    rows = DomainRows(
        [_scaled(each, scale_d) for each in domains],
        [resampled_weights(weight_n, num_replicates, random) for weight_n in weights],
    )
    products = _products_of_tasks(
        chosen,
        fisher,
        rows,
        [_scaled(each, scale_d) for each in tasks],
        [
            resampled_weights(np.full(count, 1.0 / count), num_replicates, random)
            for count in counts_t
        ],
    )
    value_rkt = np.stack([_formed(chosen, each) for each in products], axis=-1)
    return _summary(value_rkt, counts_k, counts_t, metric, level)


def _checked_rows(groups: Sequence[Tensor], what: str) -> list[Tensor]:
    """Rows in which sums of products do not overflow."""
    for number, rows in enumerate(groups):
        if not bool(torch.isfinite(rows).all()):
            raise ValueError(f"{what} {number} has rows that are no numbers.")
    return [rows.float() if rows.element_size() < _WIDE else rows for rows in groups]


_WIDE = 4
"""Bytes of a number."""


def _products_of_tasks(
    chosen: Metric,
    fisher: str,
    rows: DomainRows,
    tasks: Sequence[Tensor],
    shares: Sequence[np.ndarray],
) -> list[Products]:
    pairs = list(zip(tasks, shares, strict=True))
    if chosen.within == "fisher" and fisher == "diagonal":
        mean_rkd = rows.means()
        return [diagonal_fisher_products(mean_rkd, row_md, share) for row_md, share in pairs]
    if chosen.within == "fisher":
        return [whole_fisher_products(rows, row_md, share) for row_md, share in pairs]
    # A kernel alone needs no lengths.
    length_rk = np.zeros(rows.shape_rk) if chosen.form == "kernel" else rows.lengths()
    return [plain_products(rows, length_rk, row_md, share) for row_md, share in pairs]


def _formed(chosen: Metric, products: Products) -> np.ndarray:
    if chosen.form == "cosine":
        return products.cosine()
    return products.distance() if chosen.form == "distance" else products.kernel_rk


def _summary(
    value_rkt: np.ndarray, counts_k: np.ndarray, counts_t: np.ndarray, metric: str, level: float
) -> Impact:
    """The data's values, with what the replicates say of their error."""
    value_kt, replicate_rkt = value_rkt[0], value_rkt[1:]
    error_kt = np.full_like(value_kt, np.inf)
    low_kt, high_kt = -error_kt, error_kt.copy()
    if len(replicate_rkt) > 1:
        is_known_kt = (counts_k > 1)[:, None] & (counts_t > 1)
        centred_rkt = replicate_rkt - replicate_rkt.mean(axis=0)
        tails = (1.0 - level) / 2.0, (1.0 + level) / 2.0
        below_kt, above_kt = np.quantile(centred_rkt, tails, axis=0)
        error_kt = np.where(is_known_kt, replicate_rkt.std(axis=0, ddof=1), np.inf)
        low_kt = np.where(is_known_kt, value_kt + below_kt, -np.inf)
        high_kt = np.where(is_known_kt, value_kt + above_kt, np.inf)
    return Impact(value_kt, error_kt, low_kt, high_kt, counts_k, counts_t, metric)


def _counts(rows: Sequence[Tensor], what: str) -> np.ndarray:
    counts = np.array([len(each) for each in rows], dtype=np.int64)
    if len(counts) == 0 or not counts.all():
        raise ValueError(f"every {what} needs at least one sample, but they have {counts}.")
    return counts


def _scaled(row_nd: Tensor, scale_d: Tensor | None) -> Tensor:
    return row_nd if scale_d is None else row_nd * scale_d
