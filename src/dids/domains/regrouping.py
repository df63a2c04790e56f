"""How the samples of one grouping lie in another: what a run that goes on with other domains needs.

Axis letters: n samples, j domains of before, k domains of now.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Integer


@dataclass(frozen=True, eq=False)
class Regrouping:
    """Which part of which domain went where.

    Attributes:
        passed_kj: Part of each domain of before that is in each domain of now; each sums to 1.
        origin_kj: Part of each domain of now that comes from each domain of before; each sums to 1,
            or to 0 where the domain is of new samples.
        before: Names of before.
        names: Names of now.
    """

    passed_kj: Float64[np.ndarray, "k j"]
    origin_kj: Float64[np.ndarray, "k j"]
    before: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def between(
        cls,
        domain_before_n: Integer[np.ndarray, " n"],
        domain_n: Integer[np.ndarray, " m"],
        weight_n: Integer[np.ndarray, " m"],
        before: Sequence[str],
        names: Sequence[str],
    ) -> "Regrouping":
        """Compare two groupings of samples.

        Args:
            domain_before_n: Domain of each sample before; samples that came later are not in it.
            domain_n: Domain of each sample now.
            weight_n: What a sample counts: one, or its tokens.
            before: Names of the domains before.
            names: Names of the domains now.

        Example:
            >>> before, now = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 2, 3])
            >>> found = Regrouping.between(before, now, np.ones(5, int), "ab", "xybc")
            >>> found.passed_kj[:, 0].round(3), found.is_added_k
            (array([0.333, 0.667, 0.   , 0.   ]), array([False, False, False,  True]))
        """
        known_n = slice(0, len(domain_before_n))
        weight_kj = np.zeros((len(names), len(before)))
        np.add.at(weight_kj, (domain_n[known_n], domain_before_n), weight_n[known_n])
        return cls(
            _parts(weight_kj, axis=0), _parts(weight_kj, axis=1), tuple(before), tuple(names)
        )

    @property
    def is_added_k(self) -> Bool[np.ndarray, " k"]:
        """Domains of samples that were not there before."""
        return np.asarray(~self.origin_kj.any(axis=1))

    @property
    def is_untouched_k(self) -> Bool[np.ndarray, " k"]:
        """Domains whose samples are those of one domain of before."""
        is_whole_kj = (self.passed_kj == 1.0) & (self.origin_kj == 1.0)
        return np.asarray(is_whole_kj.any(axis=1))

    def averaged(self, value_j: Float64[np.ndarray, " j"]) -> Float64[np.ndarray, " k"]:
        """A number of each domain of now: the mean over what it comes from, NaN where unknown.

        Example:
            >>> parts = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
            >>> origin = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
            >>> both = Regrouping(parts, origin, ("a", "b", "c"), ("a+b", "c"))
            >>> both.averaged(np.array([1.0, 3.0, np.nan]))
            array([ 2., nan])
        """
        is_known_j = np.isfinite(value_j)
        known_k = self.origin_kj @ is_known_j
        total_k = self.origin_kj @ np.where(is_known_j, value_j, 0.0)
        return np.asarray(
            np.where(known_k > 0, total_k / np.where(known_k > 0, known_k, 1), np.nan)
        )

    def changes(self) -> list[dict[str, list[str]]]:
        """What became of what, as ``{"from": names, "into": names}``; untouched domains left out.

        A domain that is only called otherwise is among them.
        """
        found = []
        left = [k for k in range(len(self.names)) if not self._keeps_its_name(k)]
        while left:
            olds, news = set(np.flatnonzero(self.origin_kj[left[0]]).tolist()), {left[0]}
            while True:
                more = {int(k) for j in olds for k in np.flatnonzero(self.passed_kj[:, j])}
                wider = {int(j) for k in news | more for j in np.flatnonzero(self.origin_kj[k])}
                if more <= news and wider <= olds:
                    break
                news, olds = news | more, olds | wider
            found.append(
                {
                    "from": [self.before[j] for j in sorted(olds)],
                    "into": [self.names[k] for k in sorted(news)],
                }
            )
            left = [k for k in left if k not in news]
        return found

    def _keeps_its_name(self, domain: int) -> bool:
        if not self.is_untouched_k[domain]:
            return False
        return self.before[int(self.origin_kj[domain].argmax())] == self.names[domain]


def _parts(weight_kj: np.ndarray, axis: int) -> np.ndarray:
    total = weight_kj.sum(axis=axis, keepdims=True)
    part_kj = np.zeros_like(weight_kj)
    np.divide(weight_kj, total, out=part_kj, where=total > 0)
    return part_kj
