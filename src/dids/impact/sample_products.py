"""Inner products that impact is made of, from samples' rows, for every bootstrap replicate at once.

A replicate is a set of weights on the samples; means of rows are never formed, because a mean's
inner products are means of inner products. With the whole Fisher information ``F = mean s s'`` of a
task, ``u' F v = mean <s, u> <s, v>``: no matrix either.

Axis letters: k domains, n samples of all domains, m samples of a task, d dimensions, r replicates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Products:
    """What kernel, cosine and distance of one task need.

    Attributes:
        kernel_rk: Inner products of the domains' steps and the task's own.
        length_rk: Squared lengths of the domains' steps.
        own_r: Squared length of the task's own step.
    """

    kernel_rk: Float64[np.ndarray, "r k"]
    length_rk: Float64[np.ndarray, "r k"]
    own_r: Float64[np.ndarray, " r"]

    def cosine(self) -> Float64[np.ndarray, "r k"]:
        """Between -1 and 1; 0 where a step has no length."""
        square_rk = np.maximum(self.length_rk, 0.0) * np.maximum(self.own_r, 0.0)[:, None]
        cosine_rk = np.zeros_like(square_rk)
        np.divide(self.kernel_rk, np.sqrt(square_rk), out=cosine_rk, where=square_rk > 0)
        return np.asarray(np.clip(cosine_rk, -1.0, 1.0))

    def distance(self) -> Float64[np.ndarray, "r k"]:
        """Half of the squared distance between the steps."""
        return np.asarray(0.5 * self.length_rk - self.kernel_rk + 0.5 * self.own_r[:, None])


class DomainRows:
    """The rows of all domains and their weights in every replicate.

    Args:
        rows: For each domain [n, d].
        weights: For each domain [r, n]; they need not sum to 1.
    """

    def __init__(
        self, rows: Sequence[Float[Tensor, "_ d"]], weights: Sequence[Float64[np.ndarray, "r _"]]
    ) -> None:
        self.row_nd = torch.cat(list(rows))
        self._start_k = np.cumsum([0, *(len(each) for each in rows[:-1])])
        shares = [weight_rn / weight_rn.sum(axis=1, keepdims=True) for weight_rn in weights]
        self.share_rn = np.concatenate(shares, axis=1)
        self._rows, self._shares = rows, shares

    @property
    def shape_rk(self) -> tuple[int, int]:
        """Replicates and domains."""
        return len(self.share_rn), len(self._rows)

    def mean(self, value_nm: Float64[np.ndarray, "n m"]) -> Float64[np.ndarray, "r k m"]:
        """Means over each domain's samples, in every replicate."""
        weighted = (share_n[:, None] * value_nm for share_n in self.share_rn)
        return np.stack([np.add.reduceat(each, self._start_k, axis=0) for each in weighted])

    def lengths(self) -> Float64[np.ndarray, "r k"]:
        """Squared lengths of the domains' mean rows."""
        grams = [(rows @ rows.T).double().cpu().numpy() for rows in self._rows]
        pairs = zip(self._shares, grams, strict=True)
        return np.stack([np.einsum("rn,nl,rl->r", w, gram, w) for w, gram in pairs], axis=1)

    def means(self) -> Float[Tensor, "r k d"]:
        """The mean rows themselves."""
        pairs = zip(self._rows, self._shares, strict=True)
        return torch.stack([torch.from_numpy(w).to(rows) @ rows for rows, w in pairs], dim=1)


def plain_products(
    domains: DomainRows,
    length_rk: Float64[np.ndarray, "r k"],
    row_md: Float[Tensor, "m d"],
    share_rm: Float64[np.ndarray, "r m"],
) -> Products:
    """Of the rows as they are."""
    cross_nm = (domains.row_nd @ row_md.T).double().cpu().numpy()
    gram_mm = (row_md @ row_md.T).double().cpu().numpy()
    return Products(
        np.einsum("rkm,rm->rk", domains.mean(cross_nm), share_rm),
        length_rk,
        np.einsum("rm,ml,rl->r", share_rm, gram_mm, share_rm),
    )


def whole_fisher_products(
    domains: DomainRows, row_md: Float[Tensor, "m d"], share_rm: Float64[np.ndarray, "r m"]
) -> Products:
    """In the metric ``mean s s'`` over the task's own rows s."""
    cross_nm = (domains.row_nd @ row_md.T).double().cpu().numpy()
    along_rkm = domains.mean(cross_nm)
    own_rm = share_rm @ (row_md @ row_md.T).double().cpu().numpy()
    return Products(
        np.einsum("rm,rkm,rm->rk", share_rm, along_rkm, own_rm),
        np.einsum("rm,rkm->rk", share_rm, along_rkm**2),
        np.einsum("rm,rm->r", share_rm, own_rm**2),
    )


def diagonal_fisher_products(
    mean_rkd: Float[Tensor, "r k d"],
    row_md: Float[Tensor, "m d"],
    share_rm: Float64[np.ndarray, "r m"],
) -> Products:
    """In the metric of the mean squared rows of the task, entry by entry."""
    kernel, length, own = [], [], []
    for mean_kd, share_m in zip(mean_rkd.double(), share_rm, strict=True):
        weight_m = torch.from_numpy(share_m).to(row_md.device)
        target_d = weight_m @ row_md.double()
        fisher_d = weight_m @ row_md.double().square()
        kernel.append(mean_kd @ (fisher_d * target_d))
        length.append(mean_kd.square() @ fisher_d)
        own.append(target_d.square() @ fisher_d)
    found = (torch.stack(each).cpu().numpy() for each in (kernel, length, own))
    return Products(*found)
