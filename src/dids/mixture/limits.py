"""Limits that every mixture keeps: floors, caps and pins of domains, floors and caps of sources.

Axis letters: k domains, m groups (sources, where domains mix them).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy.optimize import linprog

from dids.errors import InputError
from dids.mixture.quadratic import SAME, best_direction, best_mixture

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class MixtureLimits:
    """Bounds on a mixture; building it checks that a mixture can keep them.

    Attributes:
        lower_k: Least probability of each domain.
        upper_k: Greatest probability of each domain; equal to ``lower_k``, it pins the domain.
        group_mk: Share of each domain's samples that belong to each group. None: no groups.
        lower_m: Least probability of each group. None: zero.
        upper_m: Greatest probability of each group. None: one.
        group_names: Names of the groups, for messages.

    Raises:
        InputError: If no mixture keeps all the limits.

    Example:
        >>> limits = MixtureLimits(np.array([0.1, 0.1]), np.array([1.0, 0.6]))
        >>> limits.project(np.array([0.0, 1.0])).round(6)
        array([0.4, 0.6])
    """

    lower_k: Float64[np.ndarray, " k"]
    upper_k: Float64[np.ndarray, " k"]
    group_mk: Float[np.ndarray, "m k"] | None = None
    lower_m: Float[np.ndarray, " m"] | None = None
    upper_m: Float[np.ndarray, " m"] | None = None
    group_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.lower_k) != len(self.upper_k):
            raise ValueError(
                f"there are {len(self.lower_k)} floors, but {len(self.upper_k)} caps; every domain "
                "has one of each."
            )
        for domain, (lower, upper) in enumerate(zip(self.lower_k, self.upper_k, strict=True)):
            if not 0.0 <= lower <= upper <= 1.0:
                raise InputError(
                    f"mixture: domain {domain} has floor {lower} and cap {upper}, but it must be "
                    "0 <= floor <= cap <= 1."
                )
        least, most = float(self.lower_k.sum()), float(self.upper_k.sum())
        if least > 1.0 + _TOLERANCE:
            raise InputError(
                f"mixture.floor: the floors of the domains add up to {least:.6g}, but they must "
                "add up to at most 1."
            )
        if most < 1.0 - _TOLERANCE:
            raise InputError(
                f"mixture: the caps of the domains add up to {most:.6g}, but they must add up to "
                "at least 1."
            )
        if self.group_mk is not None and not self._is_feasible(np.arange(len(self.group_mk))):
            raise InputError(self._conflict())
        object.__setattr__(self, "upper_k", self._highest())

    @classmethod
    def with_floor(cls, num_domains: int, floor: float) -> "MixtureLimits":
        """A floor for every domain, as a fraction of its uniform share."""
        return cls(np.full(num_domains, floor / num_domains), np.ones(num_domains))

    @property
    def num_domains(self) -> int:
        """Number of domains."""
        return len(self.lower_k)

    def project(self, mixture_k: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        """The nearest mixture that keeps the limits; one that keeps them is returned as it is.

        Raises:
            ValueError: If the mixture has entries that are no numbers, or is of other domains.
        """
        if len(mixture_k) != self.num_domains or not np.isfinite(mixture_k).all():
            raise ValueError(
                f"a mixture of {self.num_domains} domains has as many numbers, but it is "
                f"{mixture_k}."
            )
        if self.allows(mixture_k):
            has_dust_k = (self.upper_k == 0.0) & (mixture_k != 0.0)
            return np.where(has_dust_k, 0.0, mixture_k) if has_dust_k.any() else mixture_k
        return self.minimiser(np.eye(self.num_domains), -mixture_k)

    def held(self, mixture_k: Float64[np.ndarray, " k"]) -> list[str | None]:
        """What keeps each domain's share from being another.

        Args:
            mixture_k: Within the limits.

        Returns:
            For each domain its own limit that it is at (``pin``, ``floor`` or ``cap``), else the
            name of a group that is at one of its; None where nothing holds it. Floors of zero and
            caps of one are none.

        Example:
            >>> MixtureLimits.with_floor(3, 0.3).held(np.array([0.1, 0.3, 0.6]))
            ['floor', None, None]
        """
        group_mk, lower_m, upper_m = self._groups()
        group_m = group_mk @ mixture_k
        is_at_m = (group_m <= lower_m + SAME) & (lower_m > 0.0)
        is_at_m |= (group_m >= upper_m - SAME) & (upper_m < 1.0)
        held: list[str | None] = []
        for k, (share, low, high) in enumerate(
            zip(mixture_k, self.lower_k, self.upper_k, strict=True)
        ):
            in_group = [m for m in np.flatnonzero(is_at_m) if group_mk[m, k] > 0.0]
            if high - low <= SAME:
                held.append("pin")
            elif low > 0.0 and share <= low + SAME:
                held.append("floor")
            elif high < 1.0 and share >= high - SAME:
                held.append("cap")
            else:
                names = self.group_names
                held.append(names[in_group[0]] if in_group and names is not None else None)
        return held

    def allows(self, mixture_k: Float64[np.ndarray, " k"]) -> bool:
        """Whether a mixture keeps the limits."""
        group_mk, lower_m, upper_m = self._groups()
        group_m = group_mk @ mixture_k
        return bool(
            abs(mixture_k.sum() - 1.0) <= _TOLERANCE
            and (mixture_k >= self.lower_k - _TOLERANCE).all()
            and (mixture_k <= self.upper_k + _TOLERANCE).all()
            and (group_m >= lower_m - _TOLERANCE).all()
            and (group_m <= upper_m + _TOLERANCE).all()
        )

    def minimiser(
        self,
        quadratic_kk: Float64[np.ndarray, "k k"],
        linear_k: Float64[np.ndarray, " k"],
        weight_k: Float64[np.ndarray, " k"] | None = None,
    ) -> Float64[np.ndarray, " k"]:
        """The mixture p within the limits that minimises ``1/2 q' Q q + c' q``.

        Args:
            quadratic_kk: Q.
            linear_k: c.
            weight_k: What a sample of each domain weighs: ``q = p * weight``, scaled to sum to 1.
                None: they weigh the same, and q is p.
        """
        if weight_k is None:
            bounds = self.lower_k, self.upper_k, *self._groups()
            return best_mixture(quadratic_kk, linear_k, *bounds)
        limit_mk, equal_mk = self._weighted_rows(weight_k)
        row_mk = np.vstack([limit_mk, equal_mk])
        upper_m = np.concatenate([np.full(len(limit_mk), np.inf), np.zeros(len(equal_mk))])
        lower_k, upper_k = np.zeros(self.num_domains), self._is_drawn_k.astype(np.float64)
        bounds = lower_k, upper_k, row_mk, np.zeros(len(row_mk)), upper_m
        share_k = best_mixture(quadratic_kk, linear_k, *bounds)
        return self.project(unweighted(share_k, weight_k))

    def best_direction(
        self,
        quadratic_kk: Float64[np.ndarray, "k k"],
        linear_k: Float64[np.ndarray, " k"],
        weight_k: Float64[np.ndarray, " k"] | None = None,
    ) -> Float64[np.ndarray, " k"] | None:
        """As `minimiser`, but the objective is taken at the best multiple of q: its length is free.

        None where no mixture within the limits is better than standing still.
        """
        weight_k = np.ones(self.num_domains) if weight_k is None else weight_k
        rows = self._weighted_rows(weight_k)
        share_k = best_direction(quadratic_kk, linear_k, *rows, self._is_drawn_k)
        return None if share_k is None else self.project(unweighted(share_k, weight_k))

    @property
    def _is_drawn_k(self) -> np.ndarray:
        return np.asarray(self.upper_k > SAME)

    def _weighted_rows(self, weight_k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Limits on p as rows on q: ``r' p >= l`` is ``sum_k (r_k - l) q_k / weight_k >= 0``.

        Apart from them those that are equalities; of domains that may have nothing there are none.
        """
        group_mk, lower_m, upper_m = self._groups()
        limited_mk = np.vstack([np.eye(self.num_domains)[self._is_drawn_k], group_mk])
        lower_m = np.concatenate([self.lower_k[self._is_drawn_k], lower_m])
        upper_m = np.concatenate([self.upper_k[self._is_drawn_k], upper_m])
        above_mk, below_mk = limited_mk - lower_m[:, None], upper_m[:, None] - limited_mk
        is_pinned_m = upper_m - lower_m <= SAME
        limit_mk = np.vstack(
            [above_mk[~is_pinned_m & (lower_m > 0.0)], below_mk[~is_pinned_m & (upper_m < 1.0)]]
        )
        scale_k = weight_k.mean() / weight_k
        return limit_mk * scale_k, above_mk[is_pinned_m] * scale_k

    def _groups(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.group_mk is None:
            return np.zeros((0, self.num_domains)), np.zeros(0), np.zeros(0)
        num_groups = len(self.group_mk)
        return (
            self.group_mk.astype(np.float64),
            np.zeros(num_groups) if self.lower_m is None else self.lower_m.astype(np.float64),
            np.ones(num_groups) if self.upper_m is None else self.upper_m.astype(np.float64),
        )

    def _highest(self) -> np.ndarray:
        """The caps, and zero for what the other limits leave nothing.

        Solvers would leave it a rounding, which is a share to whoever reads the mixture.
        """
        others_k = self.lower_k.sum() - self.lower_k
        is_left_out_k = (others_k >= 1.0 - SAME) & (self.lower_k == 0.0)
        group_mk, _, upper_m = self._groups()
        is_left_out_k |= (group_mk[upper_m == 0.0] > 0.0).any(axis=0)
        return np.where(is_left_out_k, 0.0, self.upper_k)

    def _is_feasible(self, groups: np.ndarray) -> bool:
        """Whether some mixture keeps the limits of the domains and of these groups."""
        group_mk, lower_m, upper_m = (values[groups] for values in self._groups())
        result = linprog(
            np.zeros(self.num_domains),
            A_ub=np.vstack([group_mk, -group_mk]),
            b_ub=np.concatenate([upper_m, -lower_m]),
            A_eq=np.ones((1, self.num_domains)),
            b_eq=[1.0],
            bounds=list(zip(self.lower_k.tolist(), self.upper_k.tolist(), strict=True)),
            method="highs",
        )
        return bool(result.status == 0)

    def _conflict(self) -> str:
        """Names the first group whose limits cannot be kept, by themselves or with the others."""
        group_mk, lower_m, upper_m = self._groups()
        names = self.group_names or tuple(str(group) for group in range(len(group_mk)))
        for group in range(len(group_mk)):
            if not self._is_feasible(np.array([group])):
                return (
                    f"data.sources.{names[group]}: no mixture gives it between "
                    f"{lower_m[group]:.6g} and {upper_m[group]:.6g}; raise its cap, or lower its "
                    "floor or mixture.floor."
                )
        for group in range(len(group_mk)):
            if not self._is_feasible(np.arange(group + 1)):
                return (
                    f"data.sources.{names[group]}: its floor {lower_m[group]:.6g} and cap "
                    f"{upper_m[group]:.6g} cannot be kept together with those of "
                    f"{', '.join(names[:group])}; lower the floors or raise the caps."
                )
        return "data.sources: the floors and caps of the sources cannot all be kept at once."


def weighted(
    mixture_k: Float64[np.ndarray, " k"], weight_k: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """Shares of what samples weigh in a mixture of samples.

    Example:
        >>> weighted(np.array([0.5, 0.5]), np.array([30.0, 10.0]))
        array([0.75, 0.25])
    """
    share_k = mixture_k * weight_k
    return np.asarray(share_k / share_k.sum())


def unweighted(
    share_k: Float64[np.ndarray, " k"], weight_k: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """The mixture of samples that has these shares of what they weigh."""
    return weighted(share_k, 1.0 / weight_k)
